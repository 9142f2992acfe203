"""The auth service: login through the OpenID provider, access and refresh tokens, revocation, accounts.

It owns the auth database. Accounts reach the backend through an outbox (`relay`), revocations through Redis
(`harness.reference.revocation`); both are committed in the transaction of the change itself.
"""
