WITH RECURSIVE reached (id) AS (
    SELECT $1::bigint
    UNION
    SELECT e.target FROM reached JOIN edges e ON e.source = reached.id
)
SELECT reached.id, a.kind, a.name, a.need FROM reached LEFT JOIN artifacts a ON a.id = reached.id
