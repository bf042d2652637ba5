#!/bin/sh
# Makes the fixtures of this folder, with OpenSSL as the independent signer.
# The key is for tests only. Run here; every run gives another key.
set -eu
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out key.der
openssl pkcs8 -topk8 -nocrypt -inform DER -in key.der -outform DER -out rsa2048.pk8
openssl pkey -inform DER -in key.der -pubout -outform DER -out rsa2048.spki
printf 'holdfast' >message
# Salt lengths: none, SHA-1's, the hash's own, the longest that fits
# (256 - 32 - 2).
for salt in 0 20 32 222; do
  openssl dgst -sha256 -sign key.der -keyform DER -sigopt rsa_padding_mode:pss \
    -sigopt rsa_pss_saltlen:$salt -sigopt rsa_mgf1_md:sha256 -out "pss-sha256-salt$salt.sig" message
done
# The same, but MGF1 with another hash than the scheme's.
openssl dgst -sha256 -sign key.der -keyform DER -sigopt rsa_padding_mode:pss \
  -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha1 -out pss-sha256-mgf1-sha1.sig message
rm key.der
