"""A made-up company's audit trail: what its identities do, what changes for good reasons, and what is an attack.

Shares no code with the engine: it knows no profiles, facets or scores, and writes CloudTrail's own JSON. What it
plants it keeps apart, so that alarms can be held against the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

Json = dict[str, Any]
ACCOUNT = "111122223333"
START = date(2026, 9, 7)  # a Monday
HISTORY, MONTH = 30, 30  # days

COUNTRIES = {"IE": 5, "DE": 6, "US": 7, "IN": 8, "BR": 9, "RU": 10, "FR": 11, "NG": 12, "SG": 13}  # first octets
SENSITIVE = [
    "iam:CreateUser",
    "iam:CreateAccessKey",
    "iam:AttachUserPolicy",
    "iam:PutUserPolicy",
    "iam:CreateLoginProfile",
]
RECON = [
    *("iam:ListUsers", "iam:ListRoles", "iam:GetAccountAuthorizationDetails", "iam:ListAttachedUserPolicies"),
    *(
        "s3:ListBuckets",
        "s3:GetBucketPolicy",
        "ec2:DescribeInstances",
        "ec2:DescribeSnapshots",
        "rds:DescribeDBInstances",
    ),
    *(
        "lambda:ListFunctions",
        "secretsmanager:ListSecrets",
        "ssm:DescribeParameters",
        "kms:ListKeys",
        "sts:GetCallerIdentity",
    ),
    *("organizations:ListAccounts", "dynamodb:ListTables", "ecr:DescribeRepositories", "cloudtrail:DescribeTrails"),
]
WORK = {
    "s3": ["ListBuckets", "GetBucketLocation", "PutBucketTagging", "GetBucketPolicy", "CreateBucket", "ListObjects"],
    "sqs": ["SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "CreateQueue"],
    "ecs": ["DescribeServices", "UpdateService", "RegisterTaskDefinition", "DescribeTasks", "ListTasks"],
    "ecr": ["GetAuthorizationToken", "BatchGetImage", "PutImage", "InitiateLayerUpload"],
    "dynamodb": ["DescribeTable", "UpdateTable", "CreateBackup", "ListTables"],
    "cloudwatch": ["PutMetricData", "DescribeAlarms", "PutMetricAlarm", "GetMetricData"],
    "logs": ["CreateLogStream", "DescribeLogGroups", "PutRetentionPolicy", "FilterLogEvents"],
    "lambda": ["UpdateFunctionCode", "ListFunctions", "PublishVersion", "InvokeFunction"],
    "ec2": ["DescribeInstances", "CreateTags", "DescribeSnapshots", "CreateSnapshot", "DescribeVpcs"],
    "cloudformation": ["DescribeStacks", "CreateChangeSet", "ExecuteChangeSet", "ListStacks"],
    "rds": ["DescribeDBInstances", "CreateDBSnapshot", "DescribeDBSnapshots"],
    "kms": ["Decrypt", "GenerateDataKey", "DescribeKey"],
    "secretsmanager": ["GetSecretValue", "DescribeSecret"],
    "iam": ["GetRole", "ListRoles", "PassRole", "CreateRole", "AttachRolePolicy", "PutRolePolicy", "GetUser"],
    "route53": ["ChangeResourceRecordSets", "ListHostedZones"],
}
AGENTS = [
    "Boto3/1.{v} md/Botocore#1.{v} ua/2.0 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.9",
    "aws-sdk-go-v2/1.{v} os/linux lang/go#1.22 md/GOOS#linux",
    "aws-sdk-java/2.{v} Linux/5.10 OpenJDK_64-Bit_Server_VM/17",
    "APN/1.0 HashiCorp/1.0 Terraform/1.{v} (+https://www.terraform.io) aws-sdk-go-v2/1.30 os/linux",
    "aws-cli/2.{v} md/awscrt#0.20 os/linux#6.1 lang/python#3.11",
    "[S3Manager/1.{v}, aws-sdk-nodejs/2.14 linux/v18]",
]


@dataclass
class Event:
    """One call, before it is written as CloudTrail writes it."""

    at: datetime
    action: str
    address: str
    agent: str
    error: str | None = None


@dataclass
class Actor:
    """One identity and its work."""

    name: str
    kind: str  # nightly, ci, service, pipeline, terraform, vendor, rare
    is_role: bool
    rng: random.Random
    country: str
    networks: list[str]
    agent: str
    actions: list[str]
    hours: tuple[int, int]
    dead: bool = False
    version: int = 40
    noted: list[str] = field(default_factory=list)  # what changed for a good reason

    @property
    def id(self) -> str:
        return f"{'AROA' if self.is_role else 'AIDA'}{self.name.upper():0>17}"[:21]

    @property
    def key(self) -> str | None:
        return None if self.is_role else f"AKIA{self.name.upper():0>16}"[:20]


@dataclass(frozen=True)
class Incident:
    """One planted attack."""

    actor: str
    day: date
    what: str


def network(rng: random.Random, country: str) -> str:
    return f"{COUNTRIES[country]}.{rng.randrange(256)}.{rng.randrange(256)}"


def country_of(address: str) -> str | None:
    """Return where an address lies: what a file of countries would tell."""
    first = int(address.partition(".")[0])
    return next((code for code, octet in COUNTRIES.items() if octet == first), None)


def _actor(number: int, rng: random.Random) -> Actor:
    kind = rng.choices(
        ["nightly", "ci", "service", "pipeline", "terraform", "vendor", "rare"], [20, 25, 25, 12, 6, 5, 7]
    )[0]
    country = rng.choice(["IE", "IE", "DE", "US"])
    services = rng.sample(list(WORK)[:-3], {"terraform": 9, "ci": 4, "vendor": 3}.get(kind, rng.choice([1, 2, 3])))
    actions = [
        f"{service}:{name}" for service in services for name in rng.sample(WORK[service], min(3, len(WORK[service])))
    ]
    if kind == "terraform" or rng.random() < 0.1:
        actions += [f"iam:{name}" for name in WORK["iam"][: 3 if kind != "terraform" else 7]]
    if rng.random() < 0.3:
        actions.append("secretsmanager:GetSecretValue")
    start = rng.randrange(0, 6) if kind == "nightly" else rng.randrange(6, 10)
    return Actor(
        name=f"{kind}{number:04d}",
        kind=kind,
        is_role=kind in ("service", "pipeline") or rng.random() < 0.3,
        rng=random.Random(rng.random()),
        country=country,
        networks=[network(rng, country) for _ in range({"service": 3, "ci": 3, "vendor": 6}.get(kind, 1))],
        agent=rng.choice(AGENTS),
        actions=actions,
        hours=(start, start + (1 if kind == "nightly" else 9)),
    )


class Company:
    """All identities of a company, two months of their days, and what was planted in the second."""

    def __init__(self, seed: int, *, actors: int = 200, incidents: int = 40) -> None:
        rng = random.Random(seed)
        self.actors = [_actor(number, rng) for number in range(actors)]
        self.incidents: dict[tuple[str, date], Incident] = {}
        for number in range(incidents):
            what = ATTACKS[number % len(ATTACKS)]
            fitting = [one for one in self.actors if _fits(what, one) and not self._is_hit(one)]
            actor = rng.choice(fitting)
            actor.dead = what == "dead key"
            day = START + timedelta(days=HISTORY + rng.randrange(2, MONTH))
            self.incidents[actor.name, day] = Incident(actor.name, day, what)

    def _is_hit(self, actor: Actor) -> bool:
        return any(name == actor.name for name, _ in self.incidents)

    def days(self) -> Iterator[tuple[date, dict[str, list[Event]]]]:
        """Yield each day with what everybody did on it."""
        for number in range(HISTORY + MONTH):
            day = START + timedelta(days=number)
            found = {}
            for actor in self.actors:
                events = [] if actor.dead else _ordinary(actor, day)
                incident = self.incidents.get((actor.name, day))
                if incident is not None:
                    events += attack(incident.what, actor, day)
                if events:
                    found[actor.name] = events
            yield day, found


def _at(rng: random.Random, day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour % 24, rng.randrange(60), rng.randrange(60)))


def _ordinary(actor: Actor, day: date) -> list[Event]:
    """Return what an identity does on a day, after what may have changed over night for a good reason."""
    rng = actor.rng
    _change(actor, day)
    weekend = day.weekday() >= 5
    match actor.kind:
        case "nightly":
            hours = [actor.hours[0]] * 4
        case "ci":
            on_call = rng.random() < 0.05
            hours = [rng.randrange(*actor.hours) for _ in range(rng.randrange(8, 30))] if not weekend or on_call else []
        case "service" | "vendor":
            hours = [hour for hour in range(24) for _ in range(rng.randrange(1, 3))]
        case "pipeline":
            hours = [hour for hour in (0, 6, 12, 18) for _ in range(4)]
        case "terraform":
            hours = [] if weekend else [rng.randrange(8, 18) for _ in range(rng.randrange(5, 60))]
        case _:
            hours = [10] * 3 if day.day in (1, 15) else []
    if hours and rng.random() < 0.002:  # somebody runs it again by hand, at any hour
        hours = [*hours, *[rng.randrange(24)] * 3]
    if actor.kind == "vendor" and rng.random() < 0.5:
        actor.networks.append(network(rng, rng.choice([actor.country, "US"])))
    events = [_work(actor, _at(rng, day, hour)) for hour in hours]
    if events and not weekend and rng.random() < 0.0006:  # an engineer looks into something by hand, from their desk
        desk, cli = network(rng, actor.country), "aws-cli/2.31 md/awscrt#0.21 os/macos#14 lang/python#3.12"
        looks = [*rng.sample(actor.actions, min(3, len(actor.actions))), "sts:GetCallerIdentity", *rng.sample(RECON, 2)]
        events += [Event(_at(rng, day, rng.randrange(8, 17)), one, f"{desk}.9", cli) for one in looks]
        actor.noted.append(f"{day} looked into by hand")
    if events and rng.random() < 0.002:  # a deployment without a permission: refused the same, over and over
        denied = rng.choice(actor.actions)
        events += [
            Event(_at(rng, day, hours[0]), denied, _address(actor), _agent(actor), "AccessDenied") for _ in range(120)
        ]
    return events


def _change(actor: Actor, day: date) -> None:
    rng, chance = actor.rng, actor.rng.random()
    per_day = {"ci": 0.02, "terraform": 0.10, "service": 0.006}.get(actor.kind, 0.002)
    if chance < per_day:  # a release: it does one to four more things, mostly where it works already
        service = rng.choice([one.partition(":")[0] for one in actor.actions])
        if rng.random() < 0.2:
            service = rng.choice(list(WORK)[:-3])
        new = rng.sample(WORK[service], min(len(WORK[service]), rng.randrange(1, 4)))
        actor.actions += [f"{service}:{name}" for name in new if f"{service}:{name}" not in actor.actions]
        if rng.random() < 0.15:  # some releases read a secret for the first time, some pass a role
            actor.actions.append(rng.choice(["secretsmanager:GetSecretValue"] * 3 + ["iam:PassRole"]))
        actor.noted.append(f"{day} release {service}")
    if rng.random() < 0.001:  # it moves to another machine
        actor.networks = [network(rng, actor.country) for _ in actor.networks]
        actor.noted.append(f"{day} moved")
    if rng.random() < 0.0004:  # to another region of the world
        actor.country = rng.choice(["DE", "US", "FR", "SG"])
        actor.networks = [network(rng, actor.country) for _ in actor.networks]
        actor.noted.append(f"{day} moved abroad")
    if rng.random() < 0.0003:  # it is built anew: another machine, another tool, and it does other things besides
        actor.networks = [network(rng, actor.country) for _ in actor.networks]
        actor.agent = rng.choice(AGENTS)
        service = rng.choice(list(WORK)[:-3])
        actor.actions += [f"{service}:{name}" for name in WORK[service][:3]]
        actor.noted.append(f"{day} built anew")
    if rng.random() < 0.0005:
        actor.agent = rng.choice(AGENTS)
        actor.noted.append(f"{day} other tool")
    if rng.random() < 0.05:
        actor.version += 1


def _address(actor: Actor) -> str:
    return f"{actor.rng.choice(actor.networks)}.{actor.rng.randrange(1, 255)}"


def _agent(actor: Actor) -> str:
    return actor.agent.replace("{v}", str(actor.version))


def _work(actor: Actor, at: datetime) -> Event:
    error = "ThrottlingException" if actor.rng.random() < 0.01 else None
    return Event(at, actor.rng.choice(actor.actions), _address(actor), _agent(actor), error)


# -- attacks -----------------------------------------------------------------------------------------------------------

ATTACKS = (
    "abroad",
    "quiet secrets",
    "tries doors",
    "raises itself",
    "dead key",
    "two places",
    "mines",
    "looks around",
)


def _fits(what: str, actor: Actor) -> bool:
    if what == "dead key":
        return not actor.is_role and actor.kind in ("nightly", "rare")
    if what in ("raises itself", "quiet secrets", "looks around"):
        return actor.kind in ("nightly", "ci", "service", "pipeline")
    if what == "two places":
        return actor.kind in ("service", "ci", "pipeline")
    return actor.kind != "rare" and actor.kind != "vendor"


def attack(what: str, actor: Actor, day: date) -> list[Event]:
    """Return what somebody does who has the identity."""
    rng = actor.rng
    hour = rng.randrange(24)
    far = network(rng, rng.choice([one for one in ("BR", "RU", "NG", "IN") if one != actor.country]))
    near = network(rng, actor.country)

    def calls(actions: list[str], net: str | None, agent: str | None, errors: float = 0.0) -> list[Event]:
        start = _at(rng, day, hour)
        return [
            Event(
                min(start + timedelta(seconds=20 * number), datetime.combine(day, time(23, 59, 59))),
                action,
                f"{net}.{rng.randrange(1, 255)}" if net else _address(actor),
                agent or _agent(actor),
                "AccessDenied" if rng.random() < errors else None,
            )
            for number, action in enumerate(actions)
        ]

    cli = "aws-cli/2.31 md/awscrt#0.21 os/linux#6.8 lang/python#3.12"
    attacks: dict[str, Callable[[], list[Event]]] = {
        "abroad": lambda: calls([*rng.sample(RECON, 6), *rng.sample(SENSITIVE, 3)], far, cli, 0.3),
        "quiet secrets": lambda: calls(
            ["sts:GetCallerIdentity", "secretsmanager:ListSecrets", *["secretsmanager:BatchGetSecretValue"] * 9],
            near,
            cli,
        ),
        "tries doors": lambda: calls([*RECON, *SENSITIVE], None, rng.choice([cli, None]), 0.9),
        "raises itself": lambda: calls(rng.sample(SENSITIVE, 3), None, None),
        "dead key": lambda: calls(rng.sample(actor.actions, min(2, len(actor.actions))), near, cli),
        "two places": lambda: (
            [_work(actor, _at(rng, day, each)) for each in range(24)]
            + calls(rng.choices(actor.actions, k=12), far, None)
        ),
        "mines": lambda: calls(["ec2:DescribeRegions", "ec2:RunInstances", "ec2:RequestSpotInstances"] * 4, near, cli),
        "looks around": lambda: calls(rng.sample(RECON, 12), near, cli, 0.2),
    }
    return attacks[what]()


# -- CloudTrail's own words --------------------------------------------------------------------------------------------


def told(actor: Actor, event: Event, number: int) -> Json:
    """Return an event as CloudTrail writes it."""
    service, _, name = event.action.partition(":")
    who: Json = {
        "type": "IAMUser",
        "principalId": actor.id,
        "arn": f"arn:aws:iam::{ACCOUNT}:user/{actor.name}",
        "accountId": ACCOUNT,
        "accessKeyId": actor.key,
        "userName": actor.name,
    }
    if actor.is_role:
        issuer = {"type": "Role", "principalId": actor.id, "arn": f"arn:aws:iam::{ACCOUNT}:role/{actor.name}"}
        who = {
            "type": "AssumedRole",
            "principalId": f"{actor.id}:session",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{actor.name}/session",
            "accountId": ACCOUNT,
            "accessKeyId": "ASIAEXAMPLEEXAMPLE00",
            "sessionContext": {
                "sessionIssuer": {**issuer, "accountId": ACCOUNT, "userName": actor.name},
                "attributes": {"creationDate": f"{event.at:%Y-%m-%dT%H}:00:00Z", "mfaAuthenticated": "false"},
            },
        }
    return {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": event.address,
        "userAgent": event.agent,
        **({"errorCode": event.error, "errorMessage": "User is not authorized to perform this"} if event.error else {}),
        "requestParameters": {"resourceName": f"thing-{number % 997}", "maxResults": 100, "filterSet": {"items": []}},
        "responseElements": None,
        "requestID": f"{number:08x}-1f2e-4d3c-8b4a-5a6978695a4b",
        "eventID": f"{number:08x}-0a1b-4c2d-8e3f-{actor.rng.getrandbits(48):012x}",
        "readOnly": name.startswith(("Get", "List", "Describe")),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": f"{service}.eu-west-1.amazonaws.com",
        },
    }
