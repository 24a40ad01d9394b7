"""What the fork server of tests/acts_walk.py loads before it starts workers: each of them finds it warm.

Else to start a worker costs more than all that it does until it is killed. To be imported by the fork server alone.
"""

from __future__ import annotations

import os
from unittest.mock import patch

from sqlalchemy.orm import configure_mappers

from bot.render import say
from nhi.policy import Source
from nhi.providers.aws.calls import Calls
from tests.acts_walk import AWS

configure_mappers()
say("acts.doubt_gone")
with patch.dict(os.environ, AWS):
    calls = Calls(Source(provider="aws", endpoint="http://127.0.0.1:9"), role_arn=None)
    for service in ("sts", "iam", "cloudtrail"):
        calls._client(service, None)  # the SDK's models
    calls.close()
