"""httpx client for asyncio that applies the TLS, hosts and proxies of a target's `Network`."""

from __future__ import annotations

import httpx

from earwitness.harness.client.network import Network, Proxy, proxy_of


def http_client(network: Network, *, timeout_s: float) -> httpx.AsyncClient:
    """Return an httpx client for `run_flow_async`.

    `timeout_s` limits each step of a request: connecting, each write, each read. Raises TargetError if a file that the
    network names cannot be used.
    """
    network.tls()
    return httpx.AsyncClient(transport=_Transport(network), timeout=timeout_s, trust_env=False)


class _Transport(httpx.AsyncBaseTransport):
    """Transport that checks the host of each request, and sends the request directly or through a proxy.

    The environment may name a proxy for the address of a request.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ways: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises Unlisted for an unchecked host; the text of a transport error names the proxy if there was one.
        """
        url = str(request.url)
        self._network.check(url)
        proxy = proxy_of(url)
        try:
            return await self._way(proxy).handle_async_request(request)
        except httpx.TransportError as error:
            if proxy is not None:
                error.args = (f"{error}; it goes through {proxy}",)
            raise

    async def aclose(self) -> None:
        """Close the direct connections and those through proxies."""
        for way in self._ways.values():
            await way.aclose()

    def _way(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        if proxy not in self._ways:
            through = None if proxy is None else httpx.Proxy(proxy.url, headers=proxy.headers)
            self._ways[proxy] = httpx.AsyncHTTPTransport(
                verify=self._network.tls(), trust_env=False, proxy=through, limits=httpx.Limits(max_connections=100)
            )
        return self._ways[proxy]
