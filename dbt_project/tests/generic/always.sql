{#- The condition holds in every row; where it yields null it does not hold. -#}
{% test always(model, condition) %}
select *
from {{ model }}
where ({{ condition }}) is not true
{% endtest %}
