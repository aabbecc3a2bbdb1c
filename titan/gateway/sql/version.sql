-- What answers are made of now, and the key that asks, if one does.
select
    version.data_version,
    api_key.name,
    api_key.scopes,
    api_key.requests_per_minute,
    api_key.revoked_at is not null as is_revoked,
    coalesce(api_key.expires_at <= now(), false) as is_expired
from ops.data_version as version
left join config.api_key as api_key on api_key.hash = %(hash)s
