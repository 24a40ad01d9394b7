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
        self.refuses: set[str] = set()  # actions
        self.units: dict[str, str] = {}  # each unit, with what it lies in; "r-root" is the root
        self.lies_in: dict[str, str] = {}  # accounts by number, with their unit; the others lie in the root
        self.scps: dict[str, tuple[Any, list[str]]] = {}  # by name: the document, and where it hangs
        self.limits = True  # whether service control policies are in force
        self._page_size = page
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
        if asked.action.startswith("organizations:"):
            return self._tree(asked.action, json.loads(body))(environ, start_response)
        if asked.action != "sts:AssumeRole":
            return cloud(environ, start_response)
        number = asked.parameters["RoleArn"].split(":")[4]
        taken = next(one for one in self.clouds if one.account == number)
        answer = Response.from_app(taken, environ)
        key = re.search(rb"<AccessKeyId>([^<]+)<", answer.get_data())
        if key is not None:
            self._by_key[key[1].decode()] = taken
        return answer(environ, start_response)

    def add_scp(self, name: str, document: Any, *targets: str) -> None:
        """Hang a service control policy on the root, on units or on accounts."""
        self.scps[name] = (document, list(targets))

    def _tree(self, action: str, told: dict[str, Any]) -> Response:
        if action in self.refuses:
            body = {"__type": "AccessDeniedException", "Message": "no"}
            return Response(json.dumps(body), status=400, mimetype="application/x-amz-json-1.1")
        return Response(json.dumps(self._told(action, told)), mimetype="application/x-amz-json-1.1")

    def _told(self, action: str, told: dict[str, Any]) -> dict[str, Any]:
        parent = told.get("ParentId", "")
        match action.partition(":")[2]:
            case "ListRoots":
                types = [{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}] if self.limits else []
                return {"Roots": [{"Id": "r-root", "Name": "Root", "PolicyTypes": types}]}
            case "ListOrganizationalUnitsForParent":
                units = [{"Id": unit, "Name": unit} for unit, above in self.units.items() if above == parent]
                return self._page("OrganizationalUnits", units, told)
            case "ListAccountsForParent":
                numbers = (cloud.account for cloud in self.clouds)
                mine = [self._account(one) for one in numbers if self.lies_in.get(one, "r-root") == parent]
                return self._page("Accounts", mine, told)
            case "ListPolicies":
                return self._page("Policies", [{"Id": name, "Name": name} for name in self.scps], told)
            case "ListTargetsForPolicy":
                targets = self.scps[told["PolicyId"]][1]
                return self._page("Targets", [{"TargetId": one, "Name": one} for one in targets], told)
            case _:
                return {"Policy": {"Content": json.dumps(self.scps[told["PolicyId"]][0])}}

    def _page(self, name: str, every: list[Any], told: dict[str, Any]) -> dict[str, Any]:
        first = int(told.get("NextToken") or 0)
        more = {"NextToken": str(first + self._page_size)} if first + self._page_size < len(every) else {}
        return {name: every[first : first + self._page_size], **more}

    def _list(self, parameters: Any) -> Response:
        if self.refuses_list:
            body: dict[str, Any] = {"__type": "AccessDeniedException", "Message": "no"}
            return Response(json.dumps(body), status=400, mimetype="application/x-amz-json-1.1")
        first = int(parameters["Marker"] or 0)
        every = [self._account(cloud.account) for cloud in self.clouds]
        more = {"NextToken": str(first + self._page_size)} if first + self._page_size < len(every) else {}
        body = {"Accounts": every[first : first + self._page_size], **more}
        return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")

    def _account(self, number: str) -> dict[str, str]:
        arn = f"arn:aws:organizations::{self.clouds[0].account}:account/{ID}/{number}"
        return {
            "Id": number,
            "Name": f"Harbour prod {number[-1]}",
            "Arn": arn,
            "Status": "SUSPENDED" if number in self.suspended else "ACTIVE",
        }
