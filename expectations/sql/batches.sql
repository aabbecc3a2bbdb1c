-- One row per batch, newest first, with the expectations that are not met.
select
    gate_result.batch_id,
    load_batch.origin,
    gate_result.suite,
    gate_result.verdict,
    (
        select
            string_agg(
                concat_ws(
                    ' ',
                    result.entry ->> 'expectation',
                    to_char((result.entry ->> 'observed')::float8, 'FM999999999990.0999')
                ), ', ' order by result.number
            )
        from jsonb_array_elements(gate_result.results) with ordinality as result (entry, number)
        where not (result.entry ->> 'is_met')::boolean
    ) as unmet,
    load_batch.rows_read,
    load_batch.rows_quarantined,
    gate_result.judged_at
from ops.gate_result as gate_result
inner join raw.load_batch as load_batch on gate_result.batch_id = load_batch.batch_id
where
    (%(batch_ids)s::bigint[] is null or gate_result.batch_id = any(%(batch_ids)s))
    and (%(verdict)s::text is null or gate_result.verdict = %(verdict)s)
order by gate_result.batch_id desc
limit %(limit)s
