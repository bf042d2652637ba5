//! Bad input at the command lines: each is refused with exit code 1 or 2, says
//! on stderr what is wrong and what to do, shows no secret, and changes nothing.

mod arguments;
mod attester;
mod bundle;
mod directory;
mod judge;
mod serve;
mod sim;
mod state;
