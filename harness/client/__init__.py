"""Client side of a virtual user: sessions without I/O, shells for gevent and asyncio, HTTP flows, message bodies."""
