"""Trial of a target file with two users: does it fit its platform, and what could be judged?"""
