"""Users and roles through the official SDKs: denials arrive whole, and what STS hands out works in all of them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_sts20150401 import models as sts_models
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcdn.request.v20180510.DescribeRefreshQuotaRequest import DescribeRefreshQuotaRequest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient

from freshline.cli.client import Client as CliClient
from freshline.cli.credentials import NoCredentials, find
from freshline.inventory.base import AccessKey
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario.stack import Stack
from tests.unit.test_authorization import statement

QUOTA = models.DescribeRefreshQuotaRequest()


class House(Stack):
    """The service as a process, with a user who may only take roles, and a role that may refresh one domain."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, [])
        inventory = SqliteInventory.open(home / "inventory.db")
        (account,) = inventory.accounts()
        self.account, register = account.id, inventory.register
        register.add_user(self.account, "anna")
        self.anna: AccessKey = inventory.add_access_key(self.account, "anna")
        register.add_role(self.account, "deploy")
        refreshes = statement("Allow", ["cdn:RefreshObjectCaches"], "acs:cdn:*:*:domain/img.test")
        register.add_policy(self.account, "refreshes", json.dumps({"Version": "1", "Statement": [refreshes]}))
        register.attach(self.account, "AliyunSTSAssumeRoleAccess", "user", "anna")
        for policy in ("refreshes", "AliyunCDNReadOnlyAccess"):
            register.attach(self.account, policy, "role", "deploy")
        for domain in ("img.test", "css.test"):
            inventory.add_domain(domain, self.account, "default")
        inventory.close()

    def config(self, key: str, secret: str, token: str | None = None, signing: str = "v3") -> Config:
        config = Config(
            access_key_id=key, access_key_secret=secret, security_token=token, endpoint=self.address, protocol="http"
        )
        if signing == "v1":
            config.signature_algorithm = "v2"  # sic: the SDK's own name for it
        return config

    def taken(self, signing: str = "v3", **more: Any) -> Any:
        """What STS answers anna who takes the role."""
        sts = StsClient(self.config(self.anna.id, self.anna.secret, signing=signing))
        arn = f"acs:ram::{self.account}:role/deploy"
        return sts.assume_role(sts_models.AssumeRoleRequest(role_arn=arn, role_session_name="ci", **more)).body

    def sdk(self, credentials: Any, signing: str = "v3") -> Client:
        names = credentials.access_key_id, credentials.access_key_secret, credentials.security_token
        return Client(self.config(*names, signing=signing))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    service = House(tmp_path)
    service.start()
    yield service
    service.stop()


def refresh(client: Client, url: str) -> str:
    id_: str = client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path=url)).body.refresh_task_id
    return id_


@pytest.mark.parametrize("signing", ["v3", "v1"])
def test_a_role_is_taken_and_used(house: House, signing: str) -> None:
    """STS SDK, then CDN SDK, in both signatures; and what is not allowed arrives with who and why."""
    body = house.taken(signing, duration_seconds=900)
    client = house.sdk(body.credentials, signing)
    with pytest.raises(ClientException) as denied:
        refresh(client, "http://css.test/a")
    detail = denied.value.access_denied_detail

    assert body.assumed_role_user.arn == f"acs:ram::{house.account}:role/deploy/ci"
    assert body.credentials.expiration.endswith("Z")
    assert int(refresh(client, "http://img.test/a"))
    assert client.describe_refresh_quota(QUOTA).body.url_remain
    assert (denied.value.code, denied.value.status_code) == ("Forbidden.RAM", 403)
    assert detail["AuthAction"] == "cdn:RefreshObjectCaches"
    assert detail["AuthPrincipalType"] == "AssumedRoleUser"
    assert detail["AuthPrincipalDisplayName"] == "deploy:ci"
    assert detail["NoPermissionType"] == "ImplicitDeny"
    assert detail["EncodedDiagnosticMessage"]


def test_in_the_legacy_sdk(house: House) -> None:
    """A token as a signed parameter, and a denial as its own exception."""
    credentials = house.taken().credentials
    names = credentials.access_key_id, credentials.access_key_secret, credentials.security_token
    client = AcsClient(region_id="cn-hangzhou", credential=StsTokenCredential(*names))
    anna = AcsClient(house.anna.id, house.anna.secret, "cn-hangzhou")

    def quota(client: AcsClient) -> Any:
        request = DescribeRefreshQuotaRequest()
        request.set_endpoint(house.address)
        return json.loads(client.do_action_with_exception(request))

    assert quota(client)["UrlRemain"]
    with pytest.raises(ServerException) as denied:
        quota(anna)
    assert (denied.value.get_error_code(), denied.value.get_http_status()) == ("Forbidden.RAM", 403)


def test_a_policy_for_the_session(house: House) -> None:
    """A session may be given less than its role."""
    only = json.dumps({"Version": "1", "Statement": [statement("Allow", "cdn:Describe*")]})
    client = house.sdk(house.taken(policy=only).credentials)
    with pytest.raises(ClientException) as denied:
        refresh(client, "http://img.test/a")

    assert client.describe_refresh_quota(QUOTA).body.url_remain
    assert denied.value.access_denied_detail["PolicyType"] == "SessionPolicy"


def test_sessions_outlive_the_service(house: House) -> None:
    """Nothing of them is kept, so a new process knows them; without their role they are over at once."""
    client = house.sdk(house.taken().credentials)
    house.kill()
    house.start()
    assert client.describe_refresh_quota(QUOTA).body.url_remain

    inventory = SqliteInventory.open(house.home / "inventory.db")
    inventory.register.remove_role(house.account, "deploy")
    inventory.close()
    house.kill()
    house.start()
    with pytest.raises(ClientException) as over:
        client.describe_refresh_quota(QUOTA)
    assert over.value.code == "InvalidAccessKeyId.NotFound"


def test_on_the_command_line(house: House) -> None:
    """A session in the environment or in a profile signs like any key, in headers and in addresses."""
    credentials = house.taken().credentials
    environ = {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": credentials.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": credentials.access_key_secret,
        "ALIBABA_CLOUD_SECURITY_TOKEN": credentials.security_token,
    }
    profile = {
        "name": "ci",
        "access_key_id": credentials.access_key_id,
        "access_key_secret": credentials.access_key_secret,
        "sts_token": credentials.security_token,
    }
    (house.home / "profiles.json").write_text(json.dumps({"profiles": [profile]}))
    found = find(None, None, None, environ)
    client = CliClient(f"http://{house.address}", found)

    assert found == find(None, None, "ci", {"ALIBABA_CLOUD_CONFIG_FILE": str(house.home / "profiles.json")})
    assert client.call("DescribeRefreshQuota", {})["UrlRemain"]
    with urllib.request.urlopen(client.signed_url("DescribeRefreshQuota", {}), timeout=10) as answer:
        assert json.load(answer)["UrlRemain"]
    with pytest.raises(NoCredentials):
        find(None, None, None, {**environ, "ALIBABA_CLOUD_SECURITY_TOKEN": "a b"})


def test_sts_errors(house: House) -> None:
    """Roles that are not there, and an account that may take none."""
    anna = StsClient(house.config(house.anna.id, house.anna.secret))
    root = StsClient(house.config(house.key.id, house.key.secret))
    missing = sts_models.AssumeRoleRequest(role_arn=f"acs:ram::{house.account}:role/x", role_session_name="ci")

    def code(client: StsClient) -> tuple[str, int]:
        with pytest.raises(ClientException) as wrong:
            client.assume_role(missing)
        return wrong.value.code, wrong.value.status_code

    assert code(anna) == ("EntityNotExist.Role", 404)
    assert code(root) == ("NoPermission", 403)
    assert anna.get_caller_identity().body.arn == f"acs:ram::{house.account}:user/anna"
    assert root.get_caller_identity().body.identity_type == "Account"
