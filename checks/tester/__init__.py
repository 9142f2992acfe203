"""Checks of the tester itself (H1–H8): is the record fit to judge by?"""
