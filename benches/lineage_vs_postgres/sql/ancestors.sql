WITH RECURSIVE reached (id) AS (
    SELECT $1::bigint
    UNION
    SELECT e.source FROM reached JOIN edges e ON e.target = reached.id
)
SELECT reached.id, a.kind, a.name, a.need, r.page, p.run, n.connection, c.consent, c.connector
FROM reached LEFT JOIN artifacts a ON a.id = reached.id LEFT JOIN records r ON r.id = reached.id LEFT JOIN pages p ON p.id = r.page
LEFT JOIN runs n ON n.id = p.run LEFT JOIN connections c ON c.id = n.connection
