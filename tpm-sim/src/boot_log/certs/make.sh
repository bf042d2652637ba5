#!/bin/sh
# Made the DER certificates beside this file: the simulated platform's Secure
# Boot keys. They are fixed, not made at each start, so that every simulated
# gateway of one image has the same PCR 7, as a product line has. Their private
# keys were thrown away; nothing trusts these certificates.
set -eu
cd "$(dirname "$0")"
make() {
    openssl req -x509 -newkey rsa:2048 -sha256 -nodes -keyout /dev/null \
        -days 3650 -subj "/O=Holdfast Simulation/CN=$2" -outform DER -out "$1.der"
}
make pk "Simulated Platform Key"
make kek "Simulated Key Exchange Key"
make db "Simulated UEFI Signing CA"
make shim "Simulated Distribution Secure Boot CA"
make mok "Simulated Owner Machine Key"
