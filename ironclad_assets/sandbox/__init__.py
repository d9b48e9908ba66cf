"""Run untrusted or heavy work in a child process that can do little, and not for long."""
