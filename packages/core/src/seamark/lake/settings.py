"""How a service reaches the lake: catalog, object store, state files."""

from __future__ import annotations

from pydantic import Field, SecretStr

from seamark.settings import ServiceSettings

_STATE_URI = r"^(s3://[^/\s]+|file:///)\S*$"


class LakeSettings(ServiceSettings):
    """Settings of a service that reads or writes tables."""

    catalog_name: str = Field("lake", min_length=1, description="the catalog's name")
    catalog_uri: str = Field(
        pattern=r"^https?://\S+$",
        description="the address of an Iceberg REST catalog, with http:// or https://",
    )
    catalog_warehouse: str = Field("", description="the warehouse to ask the catalog for")
    catalog_credential: SecretStr = Field(SecretStr(""), description="client id:secret for OAuth2, or empty")
    catalog_oauth2_uri: str = Field("", description="the OAuth2 token address, or empty")
    catalog_timeout_seconds: float = Field(30.0, gt=0, description="more than 0 seconds")
    catalog_namespace: str = Field(
        "market", pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits, _"
    )
    s3_endpoint: str = Field("", description="the address of the object store, or empty for the cloud's own")
    s3_region: str = Field("us-east-1", min_length=1, description="a region name")
    s3_access_key_id: SecretStr = Field(SecretStr(""), description="an access key id")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="a secret access key")
    state_uri: str = Field(
        pattern=_STATE_URI,
        description="s3://bucket/folder or file:///folder outside every table, for state files",
    )
    start_timeout_seconds: float = Field(60.0, gt=0, description="more than 0 seconds")

    def catalog_properties(self) -> dict[str, str]:
        """Properties for pyiceberg's load_catalog and for the object store."""
        properties = {
            "type": "rest",
            "uri": self.catalog_uri,
            "warehouse": self.catalog_warehouse,
            "credential": self.catalog_credential.get_secret_value(),
            "oauth2-server-uri": self.catalog_oauth2_uri,
            "s3.endpoint": self.s3_endpoint,
            "s3.region": self.s3_region,
            "s3.access-key-id": self.s3_access_key_id.get_secret_value(),
            "s3.secret-access-key": self.s3_secret_access_key.get_secret_value(),
        }
        if self.s3_endpoint:
            properties["s3.force-virtual-addressing"] = "false"
        return {name: value for name, value in properties.items() if value}
