"""An OpenID provider: authorization code with PKCE, for any number of users, with or without a browser.

It has no passwords: a browser that gives an e-mail address is logged in as that user. `login_hint` gives the address
without a page.
"""
