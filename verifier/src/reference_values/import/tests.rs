mod sha256sum;
