#!/bin/sh
# Builds freshline's gate for the Varnish on this machine, beside this file. Run it again when Varnish was upgraded.
set -eu
cd "$(dirname "$0")"
here=$(pwd)

missing() {
    echo "build.sh: $1 is missing: apt install $2" >&2
    exit 1
}
command -v pkg-config >/dev/null || missing pkg-config pkg-config
command -v gcc >/dev/null || missing gcc gcc
command -v python3 >/dev/null || missing python3 python3        # Varnish's own vmodtool is written in it
pkg-config --exists varnishapi || missing "Varnish's development files" libvarnishapi-dev
echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing "the C library's headers" libc6-dev

made=$(mktemp -d "$here/build.XXXXXX")
trap 'rm -rf "$made"' EXIT
cp src/* "$made"
cd "$made"
: >config.h                     # vmodtool's output includes it and needs nothing from it
python3 "$(pkg-config --variable=vmodtool varnishapi)" --strict -o vcc_if @INTERFACE@
# shellcheck disable=SC2046    # flags are words
LC_ALL=C gcc @FLAGS@ -I. $(pkg-config --cflags varnishapi) -o @LIBRARY@ vcc_if.c @SOURCES@
chmod 755 @LIBRARY@
mv @LIBRARY@ "$here/@LIBRARY@"

cd "$here"
# The VCL holds the gate's secret. Varnish's compiler reads it as a user of group varnish.
if [ "$(id -u)" = 0 ] && getent group varnish >/dev/null; then
    chgrp varnish freshline.vcl
    chmod 640 freshline.vcl
fi
echo "built $here/@LIBRARY@ for Varnish $(pkg-config --modversion varnishapi)"
grep -qF "\"$here/@LIBRARY@\"" freshline.vcl ||
    echo "build.sh: freshline.vcl names another place for it: move this directory there, or edit its import line" >&2
