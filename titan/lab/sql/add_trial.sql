-- One trial of a run. The hash is that of what was asked for, so that the same trial of two runs is found to be the same.
insert into lab.trial (run_id, trial, params, execution, params_hash)
select
    %(run_id)s,
    %(trial)s,
    %(params)s,
    %(execution)s,
    encode(
        sha256(
            convert_to(
                concat_ws(
                    '|', %(type)s::text, %(timeframe)s::text, %(direction)s::text, %(params)s::jsonb::text,
                    %(execution)s::jsonb::text
                ), 'UTF8'
            )
        ), 'hex'
    )
