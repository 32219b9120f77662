#!/bin/sh
# Builds freshline's gate for Squid, beside this file.
set -eu
cd "$(dirname "$0")"
here=$(pwd)

missing() {
    echo "build.sh: $1 is missing: apt install $2" >&2
    exit 1
}
command -v gcc >/dev/null || missing gcc gcc
echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing "the C library's headers" libc6-dev
printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <pcre2.h>\n' | gcc -E - >/dev/null 2>&1 ||
    missing "PCRE2's headers" libpcre2-dev

cd src
LC_ALL=C gcc @FLAGS@ -o "$here/.@HELPER@.new" @SOURCES@ @LIBRARIES@
chmod 755 "$here/.@HELPER@.new"
mv "$here/.@HELPER@.new" "$here/@HELPER@"
cd "$here"

# The files hold the gate's secret. Squid reads one as root, and its helper the other as Squid's user.
if [ "$(id -u)" = 0 ] && getent group @USER@ >/dev/null; then
    chgrp @USER@ squid.conf gate.conf
    chmod 640 squid.conf gate.conf
fi
echo "built $here/@HELPER@"
grep -qF "store_id_program $here/@HELPER@ $here/" squid.conf ||
    echo "build.sh: squid.conf names another place for it: move this directory there, or edit its store_id_program line" >&2
