#!/bin/sh
# Builds freshline's gate for the nginx on this machine, beside this file. Run it again when nginx was upgraded.
set -eu
cd "$(dirname "$0")"
here=$(pwd)

missing() {
    echo "build.sh: $1 is missing: apt install $2" >&2
    exit 1
}
command -v gcc >/dev/null || missing gcc gcc
command -v bash >/dev/null || missing bash bash     # nginx's own settings are written for it
echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing "the C library's headers" libc6-dev
test -e @NGINX@/conf_flags || missing "nginx's source" nginx-dev

made=$(mktemp -d "$here/build.XXXXXX")
asked=$(mktemp -d)              # nginx's configure takes no path with a space in it
trap 'rm -rf "$made" "$asked"' EXIT
bash -c '@CONFIGURE@' configure "$asked" >"$made/said" 2>&1 || { cat "$made/said" >&2; exit 1; }
cp src/* "$made"
cd "$made"
LC_ALL=C gcc @FLAGS@ @INCLUDES@ -isystem "$asked" -I. -o @PROGRAM@ @SOURCES@ @LIBRARIES@
chmod 755 @PROGRAM@
mv @PROGRAM@ "$here/@PROGRAM@"
cd "$here"
echo "built $here/@PROGRAM@ for $(nginx -v 2>&1 || echo nginx)"
grep -qF "\"$here/@PROGRAM@\"" load.conf ||
    echo "build.sh: load.conf and http.conf name another place for it: move this directory there, or edit them" >&2
