"""The record as data: layout of the 64 bytes, kinds and flags."""
