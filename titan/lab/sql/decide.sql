insert into lab.approval (strategy, from_status, to_status, decided_by, reason, evidence)
values (%(strategy)s, %(before)s, %(after)s, %(by)s, %(reason)s, %(evidence)s)
