"""A stand-in organisation: several accounts, each a Cloud of its own, behind one address as AWS is.

Who takes a role in an account gets credentials from there, and is answered by it from then on. The ambient credentials
are those of the management account.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Self

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from demo.cloud import Cloud
from demo.cloud_shapes import read_request

ID = "o-harbour1234"


class Organization:
    """Use it in a `with`; put things into `clouds`. The first one is the management account."""

    def __init__(self, accounts: int, *, now: Callable[[], datetime], page: int = 20) -> None:
        self.clouds = [Cloud(now=now) for _ in range(accounts)]
        self.suspended: set[str] = set()
        self.refuses_list = False
        self._page = page
        self._by_key: dict[str, Cloud] = {}
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self._server.daemon_threads = True  # type: ignore[attr-defined, unused-ignore]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for cloud in self.clouds:
            cloud.stop()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        asked = read_request(request, body)
        cloud = self._by_key.get(asked.access_key, self.clouds[0])
        if asked.action == "organizations:ListAccounts":
            return self._list(asked.parameters)(environ, start_response)
        if asked.action != "sts:AssumeRole":
            return cloud(environ, start_response)
        number = asked.parameters["RoleArn"].split(":")[4]
        taken = next(one for one in self.clouds if one.account == number)
        answer = Response.from_app(taken, environ)
        key = re.search(rb"<AccessKeyId>([^<]+)<", answer.get_data())
        if key is not None:
            self._by_key[key[1].decode()] = taken
        return answer(environ, start_response)

    def _list(self, parameters: Any) -> Response:
        if self.refuses_list:
            body: dict[str, Any] = {"__type": "AccessDeniedException", "Message": "no"}
            return Response(json.dumps(body), status=400, mimetype="application/x-amz-json-1.1")
        first = int(parameters["Marker"] or 0)
        every = [self._account(cloud.account) for cloud in self.clouds]
        more = {"NextToken": str(first + self._page)} if first + self._page < len(every) else {}
        body = {"Accounts": every[first : first + self._page], **more}
        return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")

    def _account(self, number: str) -> dict[str, str]:
        arn = f"arn:aws:organizations::{self.clouds[0].account}:account/{ID}/{number}"
        return {
            "Id": number,
            "Name": f"Harbour prod {number[-1]}",
            "Arn": arn,
            "Status": "SUSPENDED" if number in self.suspended else "ACTIVE",
        }
