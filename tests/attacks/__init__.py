"""Attacks by somebody with a stated capability; each test says what stays true."""
