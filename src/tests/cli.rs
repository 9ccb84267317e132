//! The built program from outside: what it says, and with which code it ends.
