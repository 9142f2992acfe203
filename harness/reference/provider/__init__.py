"""An OpenID provider: authorization code with PKCE, for any number of people, with or without a browser.

It knows no passwords: whoever names an e-mail address is that person. `login_hint` names it without a page.
"""
