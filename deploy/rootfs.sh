#!/bin/sh
# Puts together the root folder of the container image: the program, the libraries that it is linked with, the certificates
# of public authorities, and an account that is nobody. No shell, no package manager, nothing else.
#
#   deploy/rootfs.sh BINARY FOLDER
#
# FOLDER is made, and must not be there yet.
set -eu

binary=$1
root=$2
id=65532
certificates=/etc/ssl/certs/ca-certificates.crt

[ -x "$binary" ] || { echo "$binary is no program" >&2; exit 1; }
[ ! -e "$root" ] || { echo "$root is there already" >&2; exit 1; }
[ -r "$certificates" ] || { echo "$certificates is missing: install ca-certificates" >&2; exit 1; }

umask 022
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/etc/otaria" "$root/tmp" "$root/var/lib/otaria"
cp "$binary" "$root/usr/local/bin/otaria"
chmod 0755 "$root/usr/local/bin/otaria"

# The loader and each library, at the path where the program looks for them. A static program has none.
if libraries=$(ldd "$binary" 2>/dev/null); then
    case $libraries in
        *"not found"*) echo "a library of $binary is missing:" >&2; echo "$libraries" >&2; exit 1 ;;
    esac
    # "name => path (address)", or "path (address)" for the loader.
    echo "$libraries" | sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
fi

cp "$certificates" "$root$certificates"
echo "otaria:x:$id:$id:Otaria:/var/lib/otaria:/sbin/nologin" > "$root/etc/passwd"
echo "otaria:x:$id:" > "$root/etc/group"
# Names are looked up in the container's hosts file first, then by DNS.
echo "hosts: files dns" > "$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
chmod 0700 "$root/var/lib/otaria"
# Only root can give a folder away; whoever builds an image is.
if [ "$(id -u)" = 0 ]; then
    chown "$id:$id" "$root/var/lib/otaria"
fi
