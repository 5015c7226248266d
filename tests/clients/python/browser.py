"""A person at a browser who agrees to everything."""

import urllib.error
import urllib.parse
import urllib.request


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def consent(url: str) -> dict[str, str]:
    """Follows an authorization URL to the client's callback, and returns its parameters."""
    opener = urllib.request.build_opener(Stay, urllib.request.HTTPCookieProcessor())
    for _ in range(10):
        try:
            answer = opener.open(url)
            raise RuntimeError(f"{url} is a page: {answer.read(500)!r}")
        except urllib.error.HTTPError as answer:
            if answer.code not in (301, 302, 303, 307):
                raise RuntimeError(f"{url}: {answer.code} {answer.read(500)!r}") from None
            url = urllib.parse.urljoin(url, answer.headers["location"])
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        if "code" in parameters or "error" in parameters:
            return parameters
    raise RuntimeError("the way to the callback has no end")
