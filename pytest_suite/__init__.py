"""The ten scenarios, functional, with real services: docs/guide/pytest.md."""
