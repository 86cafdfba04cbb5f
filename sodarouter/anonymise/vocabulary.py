"""The words that stay: those of SodaCL, data contracts, SQL and Soda Cloud, and small words of English.

Whoever reads a fixture knows them anyway, and a definition without them would be no definition.
"""

_SODA = """
soda cloud check checks incident incidents dataset datasets agreement agreements contract contracts column columns
data_type owner owners attributes tags name description title configuration filter filters samples sample table tables
row rows schema metric metrics value values result results outcome status severity event webhook user user_group
pass passed warn warning fail failed error evaluated not_evaluated excluded unevaluated
minor major low medium high critical info reported opened open investigating fixing in_progress resolved pending
"""

_CHECKS = """
count row_count missing missing_count missing_percent invalid invalid_count invalid_percent valid valid_count
valid_values invalid_values missing_values valid_format invalid_format missing_format valid_regex invalid_regex
missing_regex valid_length valid_min valid_max valid_min_length valid_max_length valid_reference_data
duplicate duplicates duplicate_count duplicate_percent freshness
avg avg_length max max_length min min_length sum stddev stddev_pop stddev_samp variance var_pop var_samp percentile
distribution distribution_difference reference reference_data_set reconciliation rows_diff row_count_diff
anomaly anomaly_detection anomaly_score change last failed_rows failed_rows_check query fail_condition fail_query
expression aggregate function format regex length threshold level unit percent metric_query metric_expression
must_be must_not_be must_be_greater_than must_be_greater_than_or_equal must_be_less_than must_be_less_than_or_equal
must_be_between must_be_not_between must_not_be_between greater_than greater_than_or_equal less_than
less_than_or_equal greater less than equal required forbidden present wrong type index when_required_column_missing
when_forbidden_column_present when_wrong_column_type when_wrong_column_index when_mismatching_columns
variables character_maximum_length numeric_precision numeric_scale
datetime_precision allow_extra_columns allow_other_column_order same discussions profile_columns automated_monitoring
expected actual tested check_rows_tested dataset_rows_tested failed_rows_count failed_rows_percent
yml yaml sql csv json email uuid date_eu date_us date_iso timestamp numeric integer decimal
"""

_SQL = """
select from where join left right inner outer full cross on using group by having order limit offset distinct union all
case when then else end cast coalesce with over partition true false null is not like ilike in exists between and or as
asc desc now interval current_date current_timestamp varchar char text string int bigint smallint float double boolean
date time datetime array lower upper trim length extract
"""

_TIME = "s m h d w ms min second seconds minute minutes hour hours day days week weeks month months year years today"

_ENGLISH = """
a an the this that these those of to for at into out up down off it its are was were be been being has have had does do
did done can could should must may no yes new old more most only each every any some again after before since until
during over under about because if so than too very also but nor here there which what who why how
my our your their his her i you he she we they
"""

VOCABULARY = frozenset(" ".join((_SODA, _CHECKS, _SQL, _TIME, _ENGLISH)).split())
"""Words, and identifiers with underscores, in lower case. One that is joined of several stays only as a whole."""

GIVEN_NAMES = frozenset({"Max", "Min", "May"})
"""Words of the vocabulary that, so spelt, are likelier somebody."""

_PATHS = """
o api v1 v2 checks datasets datasources incidents agreements contracts integrations webhook organizations scans profile
dashboard browse
"""
PATHS = frozenset(_PATHS.split())
"""Parts of the paths of Soda Cloud."""

HOSTS = frozenset({"cloud.soda.io", "cloud.us.soda.io", "docs.soda.io"})
"""Those of Soda that everybody has."""
