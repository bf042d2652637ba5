-- URLs below which LDevIDs name where their revocation is told. A CRL of a part
-- names every one that a certificate in force may name, or it would not count for
-- that certificate (RFC 5280 §6.3.3 (b)(2)(i)).
CREATE TABLE public_urls (
  url   TEXT    NOT NULL PRIMARY KEY,
  -- Since when it is not configured any more; NULL: it is.
  until INTEGER
) STRICT;
