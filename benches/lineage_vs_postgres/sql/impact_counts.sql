WITH RECURSIVE reached (id) AS (
    SELECT id FROM records WHERE connection = $1
    UNION
    SELECT e.target FROM reached JOIN edges e ON e.source = reached.id
)
SELECT count(*) FILTER (WHERE id < $2), count(*) FILTER (WHERE id >= $2) FROM reached
