"""A sample company: twelve people, sixty-odd identities of every kind, and the truth about each.

Ages are in days before the day that the demo starts. `expects` is what a scan must find, told here by hand and not by
the program: the tests hold the program to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from demo import company_access
from demo.cloud import Cloud
from demo.workspace import Person

DOMAIN = "harbour.example"
ADMIN_POLICY = "arn:aws:iam::aws:policy/AdministratorAccess"

PEOPLE = (
    Person(name="ana", real_name="Ana Ruiz", email=f"ana@{DOMAIN}", title="Platform engineer", tz="Europe/Madrid"),
    Person(name="bea", real_name="Bea Okafor", email=f"bea@{DOMAIN}", title="Payments, lead", tz="Europe/London"),
    Person(name="cem", real_name="Cem Yıldız", email=f"cem@{DOMAIN}", title="Data engineer", tz="Europe/Berlin"),
    Person(
        name="dora",
        real_name="Dora Lind",
        email=f"dora@{DOMAIN}",
        title="Security lead",
        tz="Europe/London",
        is_admin=True,
    ),
    Person(name="eli", real_name="Eli Novak", email=f"eli@{DOMAIN}", title="Web engineer", tz="Europe/Prague"),
    Person(name="fay", real_name="Fay Chen", email=f"fay@{DOMAIN}", title="Site reliability", tz="Europe/London"),
    Person(
        name="gus", real_name="Gus Meyer", email=f"gus@{DOMAIN}", title="Left in June", tz="Europe/Berlin", deleted=True
    ),
    Person(name="hana", real_name="Hana Sato", email=f"hana@{DOMAIN}", title="Mobile engineer", tz="Europe/Paris"),
    Person(name="ivo", real_name="Ivo Marin", email=f"ivo@{DOMAIN}", title="Billing engineer", tz="Europe/Madrid"),
    Person(name="jo", real_name="Jo Walsh", email=f"jo@{DOMAIN}", title="Support tools", tz="Europe/Dublin"),
    Person(name="kai", real_name="Kai Berg", email=f"kai@{DOMAIN}", title="Machine learning", tz="Europe/Stockholm"),
    Person(
        name="lou",
        real_name="Lou Petit",
        email="lou@agency.example",
        title="Agency",
        tz="Europe/Paris",
        is_restricted=True,
    ),
)


# What `nhi people import` would read: who manages whom, also of those who left.
PEOPLE_CSV = f"""\
email,name,manager,end date
ana@{DOMAIN},Ana Ruiz,fay@{DOMAIN},
cem@{DOMAIN},Cem Yıldız,fay@{DOMAIN},
gus@{DOMAIN},Gus Meyer,ana@{DOMAIN},
eli@{DOMAIN},Eli Novak,fay@{DOMAIN},
fay@{DOMAIN},Fay Chen,dora@{DOMAIN},
hana@{DOMAIN},Hana Sato,eli@{DOMAIN},
ivo@{DOMAIN},Ivo Marin,bea@{DOMAIN},
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """An access key: made, and last used, so many days ago. `used` None: never."""

    made: int
    used: int | None
    active: bool = True
    service: str = "s3"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One identity of the sample company and the truth about it."""

    name: str
    age: int
    role: bool = False
    linked: str | None = None  # the service of a service-linked role
    owner: str | None = None  # what its tag says
    creator: str | None = None  # who made it, as CloudTrail tells (of the last 90 days only)
    claimed_by: str | None = None  # who confirmed it before the demo starts
    keys: tuple[Key, ...] = ()
    password: int | None = None  # days since it was changed; None: it has none
    password_used: int | None = None
    service_credential: int | None = None  # days since it was made; None: it has none
    used: int | None = None  # of a role: last assumed; None: never
    admin: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    likely: str | None = None  # the truth: whom the program should name; None: nobody
    expects: tuple[str, ...] = ()  # the truth: kinds of findings, one for each credential or identity, sorted


def _idle(name: str, who: str, *, made: int, used: int | None, admin: bool = False, service: str = "s3") -> Sample:
    """A user whose one old key nobody uses any more."""
    return Sample(
        name=name,
        age=made + 1,
        owner=f"{who}@{DOMAIN}",
        keys=(Key(made=made, used=used, service=service),),
        admin=admin,
        likely=who,
        expects=("unowned", "unrotated", "unused"),
    )


def _busy(name: str, who: str, *, made: int) -> Sample:
    """A user whose key is in daily use, and too old."""
    return Sample(
        name=name,
        age=made + 1,
        owner=who,
        keys=(Key(made=made, used=0),),
        likely=who,
        expects=("unowned", "unrotated"),
    )


def _fine(name: str, who: str) -> Sample:
    """A user with a young key in daily use and an owner who confirmed it."""
    return Sample(name=name, age=400, owner=f"{who}@{DOMAIN}", claimed_by=who, keys=(Key(made=30, used=0),), likely=who)


def _role(
    name: str, who: str | None, *, used: int | None, age: int = 300, claimed: bool = False, too_much: bool = False
) -> Sample:
    """A role that somebody's tag names."""
    unused = used is None or used >= 90
    return Sample(
        name=name,
        age=age,
        role=True,
        owner=f"{who}@{DOMAIN}" if who else None,
        claimed_by=who if claimed else None,
        used=used,
        likely=who,
        expects=(("overprivileged",) if too_much else ())
        + (() if claimed else ("unowned",))
        + (("unused",) if unused else ()),
    )


def _linked(name: str, service: str) -> Sample:
    """A role that AWS made for one of its services: nobody here can own or rotate it."""
    return Sample(name=name, age=500, role=True, linked=service)


IDLE = (
    _idle("ci-deploy", "ana", made=1020, used=214),
    _idle("legacy-backup", "ana", made=300, used=None),
    _idle("terraform-old", "fay", made=540, used=180, admin=True, service="ec2"),
    _idle("payments-export", "bea", made=480, used=130, service="dynamodb"),
    _idle("fraud-model-2023", "kai", made=1010, used=400, service="sagemaker"),
    _idle("warehouse-loader", "cem", made=700, used=101, service="redshift"),
    _idle("crash-upload", "hana", made=365, used=None),
    _idle("invoice-mailer", "ivo", made=430, used=160, service="ses"),
    _idle("zendesk-sync", "jo", made=380, used=95),
    _idle("landing-page-publish", "eli", made=510, used=250, service="cloudfront"),
    _idle("spark-adhoc", "cem", made=333, used=140, service="elasticmapreduce"),
    _idle("status-page", "fay", made=291, used=None, service="route53"),
)
BUSY = (
    _busy("metrics-shipper", "fay", made=410),
    _busy("checkout-worker", "bea", made=260),
    _busy("image-resizer", "eli", made=190),
    _busy("mobile-release", "hana", made=150),
    _busy("billing-ledger", "ivo", made=505),
    _busy("feature-store", "kai", made=222),
    _busy("support-search", "jo", made=173),
    _busy("events-ingest", "cem", made=640),
)
FINE = (
    _fine("github-oidc-bridge", "ana"),
    _fine("payments-settlement", "bea"),
    _fine("etl-nightly", "cem"),
    _fine("edge-config", "fay"),
    _fine("app-store-publish", "hana"),
    _fine("tax-reports", "ivo"),
)
ODD = (
    # Made lately by somebody whom only CloudTrail knows.
    Sample(name="hackday-bot", age=40, creator="eli", keys=(Key(made=40, used=3),), likely="eli", expects=("unowned",)),
    Sample(name="perf-test", age=75, creator="kai", keys=(Key(made=75, used=60),), likely="kai", expects=("unowned",)),
    # Whose owner left, is a guest, is nobody, or is a group.
    Sample(
        name="gus-scripts",
        age=800,
        owner=f"gus@{DOMAIN}",
        keys=(Key(made=800, used=170),),
        expects=("unowned", "unrotated", "unused"),
    ),
    # Gus had confirmed this one before he left: nobody is answerable for it until somebody has accepted it.
    Sample(
        name="gus-nightly-report",
        age=420,
        owner=f"gus@{DOMAIN}",
        claimed_by="gus",
        keys=(Key(made=60, used=0),),
        likely="gus",
        expects=("orphaned",),
    ),
    Sample(
        name="agency-ftp",
        age=420,
        owner="lou@agency.example",
        keys=(Key(made=420, used=300),),
        expects=("unowned", "unrotated", "unused"),
    ),
    Sample(name="mystery-sync", age=1200, keys=(Key(made=1200, used=1),), expects=("unowned", "unrotated")),
    Sample(name="team-tools", age=200, owner="Platform Team", keys=(Key(made=20, used=1),), expects=("unowned",)),
    # Two keys, of which one is idle: the other must never be touched.
    Sample(
        name="deploy-eu",
        age=700,
        owner="ana",
        keys=(Key(made=650, used=200), Key(made=45, used=0)),
        likely="ana",
        expects=("unowned", "unrotated", "unused"),
    ),
    Sample(
        name="reports-api",
        age=600,
        owner="bea",
        keys=(Key(made=500, used=None), Key(made=480, used=2)),
        likely="bea",
        expects=("unowned", "unrotated", "unrotated", "unused"),
    ),
    # Its key is off already: nothing of it is unused or unrotated.
    Sample(
        name="retired-poller",
        age=900,
        owner="jo",
        keys=(Key(made=900, used=500, active=False),),
        likely="jo",
        expects=("unowned",),
    ),
    # A new key that nobody has used yet has its grace.
    Sample(
        name="new-webhook", age=12, owner="eli", keys=(Key(made=12, used=None),), likely="eli", expects=("unowned",)
    ),
    # Passwords and service-specific credentials are credentials too.
    Sample(
        name="shared-console",
        age=750,
        owner="dora",
        password=610,
        password_used=200,
        likely="dora",
        expects=("unowned", "unrotated", "unused"),
    ),
    Sample(
        name="auditor-login", age=50, owner="dora", password=50, password_used=4, likely="dora", expects=("unowned",)
    ),
    Sample(
        name="codecommit-mirror",
        age=560,
        owner="eli",
        service_credential=560,
        likely="eli",
        expects=("unowned", "unrotated"),
    ),
    # Somebody typed this into a tag. It must arrive as text, and as nothing else.
    Sample(
        name="hostile-tag",
        age=100,
        owner="<!channel> *look* <https://evil.example|here> `x`",
        keys=(Key(made=30, used=1),),
        expects=("unowned",),
    ),
)
ROLES = (
    _role("lambda-thumbnails", "eli", used=0),
    _role("lambda-receipts", "bea", used=1, claimed=True),
    _role("batch-reconcile", "ivo", used=28),
    _role("glue-crawler", "cem", used=3, claimed=True),
    _role("emr-experiment", "kai", used=200),
    _role("sagemaker-notebook", "kai", used=None),
    _role("cross-account-audit", "dora", used=6, claimed=True),
    _role("break-glass", "dora", used=None, age=720),
    _role("old-jenkins", None, used=310),
    _role("github-actions-deploy", "ana", used=0, claimed=True),
    _role("eks-node-group", "fay", used=0),
    _role("support-impersonation", "jo", used=15, too_much=True),
    _linked("AWSServiceRoleForAutoScaling", "autoscaling.amazonaws.com"),
    _linked("AWSServiceRoleForElasticLoadBalancing", "elasticloadbalancing.amazonaws.com"),
    _linked("AWSServiceRoleForRDS", "rds.amazonaws.com"),
    _linked("AWSServiceRoleForECS", "ecs.amazonaws.com"),
    _linked("AWSServiceRoleForSupport", "support.amazonaws.com"),
    _linked("AWSServiceRoleForTrustedAdvisor", "trustedadvisor.amazonaws.com"),
    _linked("AWSServiceRoleForCloudTrail", "cloudtrail.amazonaws.com"),
    _linked("AWSServiceRoleForOrganizations", "organizations.amazonaws.com"),
)
COMPANY: tuple[Sample, ...] = IDLE + BUSY + FINE + ODD + ROLES


def seed(cloud: Cloud, now: datetime) -> dict[str, list[str]]:
    """Put the company's identities into the stand-in cloud; return each user's key ids, in the order of the sample."""
    keys: dict[str, list[str]] = {}
    for sample in COMPANY:
        tags = {**({"owner": sample.owner} if sample.owner else {}), **dict(sample.tags)}
        if sample.role:
            _seed_role(cloud, sample, tags, now)
        else:
            keys[sample.name] = _seed_user(cloud, sample, tags, now)
    company_access.grant(cloud, now)
    return keys


def _ago(now: datetime, days: int | None) -> datetime | None:
    """So many days ago, and an hour: today's use was an hour ago."""
    return None if days is None else now - timedelta(days=days, hours=1)


def _seed_role(cloud: Cloud, sample: Sample, tags: dict[str, str], now: datetime) -> None:
    cloud.add_role(
        sample.name,
        tags=tags,
        created_at=_ago(now, sample.age),
        last_used_at=_ago(now, sample.used),
        service=sample.linked,
        trust=company_access.trust_of(sample.name),
    )
    if sample.name == "break-glass":
        cloud.attach(ADMIN_POLICY, role=sample.name)


def _seed_user(cloud: Cloud, sample: Sample, tags: dict[str, str], now: datetime) -> list[str]:
    cloud.add_user(sample.name, tags=tags, created_at=_ago(now, sample.age))
    if sample.admin:
        cloud.attach(ADMIN_POLICY, user=sample.name)
    if sample.password is not None:
        changed, used = _ago(now, sample.password), _ago(now, sample.password_used)
        cloud.add_password(sample.name, changed_at=changed, last_used_at=used)
    if sample.service_credential is not None:
        cloud.add_service_credential(sample.name, created_at=_ago(now, sample.service_credential))
    if sample.creator is not None:
        at = _ago(now, sample.age)
        for event in ("CreateUser", "CreateAccessKey"):  # who makes a user by hand makes its key in the same minute
            cloud.add_event(event, subject=sample.name, by=f"{sample.creator}@{DOMAIN}", at=at)
    return [
        cloud.add_access_key(
            sample.name,
            created_at=_ago(now, key.made),
            last_used_at=_ago(now, key.used),
            service=key.service,
            active=key.active,
        )
        for key in sample.keys
    ]
