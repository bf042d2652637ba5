mod corim;
mod deb;
mod sha256sum;
