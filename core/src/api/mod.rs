//! One file for each API: unpack the request, call one component, pack the answer.
