"""Ten functional scenarios against real services; docs/guide/pytest.md describes them."""
