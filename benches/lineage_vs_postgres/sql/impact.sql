-- What goes with a connection (its records; what needs all of its inputs and loses one; what loses every input) and what loses an input and stays. A recursive
-- query cannot tell: it may not count what it has reached so far. This one is written for the two levels that this graph has, which is the fastest
-- that we found; a graph of any depth would need a loop.
WITH own AS MATERIALIZED (SELECT id FROM records WHERE connection = $1),
first AS MATERIALIZED (
    SELECT a.id, a.need = 'all' OR lost.count = a.inputs AS dies
    FROM (SELECT e.target AS id, count(*) FROM own JOIN edges e ON e.source = own.id GROUP BY e.target) lost JOIN artifacts a ON a.id = lost.id
),
second AS MATERIALIZED (
    SELECT a.id, a.need = 'all' OR lost.count = a.inputs AS dies
    FROM (SELECT e.target AS id, count(*) FROM first JOIN edges e ON e.source = first.id WHERE first.dies GROUP BY e.target) lost JOIN artifacts a ON a.id = lost.id
)
