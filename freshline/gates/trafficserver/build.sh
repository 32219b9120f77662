#!/bin/sh
# Builds freshline's gate for the Traffic Server on this machine, beside this file. Run it again when that was upgraded.
set -eu
cd "$(dirname "$0")"
here=$(pwd)

missing() {
    echo "build.sh: $1 is missing: apt install $2" >&2
    exit 1
}
command -v gcc >/dev/null || missing gcc gcc
has() { echo "#include <$1>" | gcc -E -DPCRE2_CODE_UNIT_WIDTH=8 - >/dev/null 2>&1; }
has stdlib.h || missing "the C library's headers" libc6-dev
has ts/ts.h || missing "Traffic Server's development files" trafficserver-dev
has pcre2.h || missing "PCRE2's development files" libpcre2-dev

made=$(mktemp -d "$here/build.XXXXXX")
trap 'rm -rf "$made"' EXIT
cp src/* "$made"
cd "$made"
LC_ALL=C gcc @FLAGS@ -I. -o @LIBRARY@ @SOURCES@ @LIBRARIES@
chmod 755 @LIBRARY@
mv @LIBRARY@ "$here/@LIBRARY@"

cd "$here"
# The configuration holds the gate's secret, and is read by the server's user.
if [ "$(id -u)" = 0 ] && getent group trafficserver >/dev/null; then
    chgrp trafficserver freshline.conf
    chmod 640 freshline.conf
fi
echo "built $here/@LIBRARY@"
