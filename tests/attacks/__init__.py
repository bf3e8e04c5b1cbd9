"""Attacks with a stated capability; each test states what stays true."""
