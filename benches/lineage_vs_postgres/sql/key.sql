SELECT r.id, p.url, r.pointer, r.version, r.primary_key, r.content_digest, r.delete_after, p.method, p.status, p.attempt, p.requested_at, p.received_at,
       p.response_sha256, p.bytes, p.request_id, n.id AS run, n.stream, n.started_at, c.id AS connection, c.tenant, c.connector, c.connector_digest,
       c.consent, c.policy_version, c.purposes, c.credential_generation
FROM keys k JOIN records r ON r.id = k.record JOIN pages p ON p.id = r.page JOIN runs n ON n.id = p.run JOIN connections c ON c.id = n.connection
WHERE k.tenant = $1 AND k.kind = 'order_number' AND k.value = $2
