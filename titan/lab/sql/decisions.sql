-- Every decision about a strategy.
select
    decided_at,
    from_status,
    to_status,
    decided_by,
    reason,
    evidence::text as evidence
from lab.approval
where strategy = %(strategy)s
order by approval_id
