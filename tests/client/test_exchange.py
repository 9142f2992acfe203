"""What is told of the requests of a flow."""

from __future__ import annotations

import pytest

from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import MAX_REDIRECTS, Browser, Flow, FlowError, HttpRequest, HttpResponse


def two_steps() -> Flow[int]:
    first = yield HttpRequest("GET", "http://there/one")
    second = yield HttpRequest("GET", "http://there/two")
    return first.status + second.status


def test_every_exchange_is_told_before_the_flow_goes_on() -> None:
    """Two requests are two exchanges in their order, sent before they were received; the flow's result is kept."""
    told: list[Exchange] = []
    flow = observed(two_steps(), told.append)
    assert next(flow).url.endswith("one")
    assert flow.send(HttpResponse(200, {"retry-after": "2"}, b"")).url.endswith("two")
    assert [(e.status, e.headers) for e in told] == [(200, {"retry-after": "2"})]
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(401, {}, b""))
    assert end.value.value == 601
    assert [e.status for e in told] == [200, 401]
    assert told[0].sent_ns <= told[0].received_ns <= told[1].sent_ns <= told[1].received_ns


@pytest.mark.parametrize(("cause", "late"), [(TimeoutError(), True), (ConnectionResetError(), False)])
def test_a_request_without_answer_is_told_and_its_error_goes_on(cause: Exception, late: bool) -> None:
    """No answer is status 0, in time or not; the flow gets the error as if nobody had listened."""
    told: list[Exchange] = []
    flow = observed(two_steps(), told.append)
    next(flow)
    error = FlowError("one", "an answer")
    error.__cause__ = cause
    with pytest.raises(FlowError) as raised:
        flow.throw(error)
    assert raised.value is error
    assert [(e.status, e.timeout) for e in told] == [(0, late)]


def test_headers_come_on_top_of_each_request() -> None:
    """What is added reaches the client and the one who watches; the request's own headers stay."""

    def flow() -> Flow[int]:
        first = yield HttpRequest("GET", "/a", {"authorization": "x"})
        second = yield HttpRequest("GET", "/b")
        return first.status + second.status

    seen: list[Exchange] = []
    watched = observed(flow(), seen.append, {"x-forwarded-for": "10.0.0.1"})
    assert next(watched).headers == {"authorization": "x", "x-forwarded-for": "10.0.0.1"}
    assert watched.send(HttpResponse(200, {}, b"")).headers == {"x-forwarded-for": "10.0.0.1"}
    with pytest.raises(StopIteration):
        watched.send(HttpResponse(200, {}, b""))
    assert [exchange.request.headers["x-forwarded-for"] for exchange in seen] == ["10.0.0.1"] * 2


def test_ten_redirects_are_followed_and_not_eleven() -> None:
    """The limit is the number of redirects, not of requests."""

    def followed(redirects: int) -> HttpResponse:
        flow = Browser().follow("http://there/0")
        next(flow)
        for n in range(1, redirects + 1):
            assert flow.send(HttpResponse(302, {"location": f"/{n}"}, b"")).url == f"http://there/{n}"
        with pytest.raises(StopIteration) as end:
            flow.send(HttpResponse(200, {}, b""))
        answer: HttpResponse = end.value.value
        return answer

    assert followed(MAX_REDIRECTS).status == 200
    with pytest.raises(FlowError, match="at most 10"):
        followed(MAX_REDIRECTS + 1)
