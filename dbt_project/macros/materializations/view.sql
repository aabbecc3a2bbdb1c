{#-
  The project's view: created or replaced in place, never dropped under those who read it, and left alone while neither its
  SQL nor what it stands on was redefined. A redefined view is a change like any other for the tables behind it.
-#}
{% materialization view, adapter='postgres' %}
  {{ return(build_model('view', model_definition('view'))) }}
{% endmaterialization %}
