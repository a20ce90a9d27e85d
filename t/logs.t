#!/usr/bin/perl

# Logs: the schema, what holds lines against it, the lines of worker and nucleusctl, and what the docs
# say of them.  Every other test holds its worker's log against the schema at its end.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Fault;
use Nucleus::Schema;
use Nucleus::Test;

my $t = Nucleus::Test->new(keys => 1);
my $root = $Nucleus::Test::ROOT;
my $schema = Nucleus::Schema->load("$root/docs/log.schema.json");

# ---- the validator

my $good = '{"time":"2026-11-21T20:38:04.091186Z","level":"notice","process":"store","pid":1,"msg":"x"';

is($schema->wrong_text("$good}"), undef, 'a line');
is($schema->wrong_text("$good,\"records\":0,\"error\":\"\"}"), undef, 'with members');

for my $case (
    [ 'no JSON',           '',                                  qr/no JSON/ ],
    [ 'half a line',       $good,                               qr/no JSON/ ],
    [ 'an array',          '[]',                                qr/no object/ ],
    [ 'another member',    "$good,\"data\":\"secret\"}",        qr/"data" is not in the schema/ ],
    [ 'a number as text',  "$good,\"records\":\"0\"}",          qr/"records" is no integer/ ],
    [ 'text as a number',  "$good,\"error\":5}",                qr/"error" is no string/ ],
    [ 'null',              "$good,\"error\":null}",             qr/"error" is no string/ ],
    [ 'below zero',        "$good,\"records\":-1}",             qr/"records" is -1/ ],
    [ 'a fraction',        "$good,\"records\":1.5}",            qr/"records" is no integer/ ],
    [ 'another code',      "$good,\"code\":\"EIO\"}",           qr/"code" is "EIO"/ ],
    [ 'another level',     $good =~ s/notice/crit/r . '}',      qr/"level" is "crit"/ ],
    [ 'another time',      $good =~ s/Z"/+00:00"/r . '}',       qr/"time" is/ ],
    [ 'no message',        $good =~ s/"x"/""/r . '}',           qr/"msg" is too short/ ],
    [ 'no pid',            $good =~ s/"pid":1,//r . '}',        qr/"pid" is missing/ ],
) {
    my ($name, $line, $why) = @$case;
    like($schema->wrong_text($line) // 'nothing is wrong', $why, $name);
}

{
    my $other = $t->write_file('other.json', '{"type":"object","properties":{"x":{"type":"string","format":"uuid"}}}');
    ok(!eval { Nucleus::Schema->load($other); 1 } && $@ =~ /"format" is not known/, 'a keyword that it does not know');
}

# ---- the docs

my $logs = $t->read_file("$root/docs/logs.md");
my %row = map { /^\| `(\w+)` \| (\w+) \| (.+) \|$/ ? ($1 => [ $2, $3 ]) : () } split /\n/, $logs;
is_deeply([ sort keys %row ], [ $schema->properties ], 'docs/logs.md has each member of the schema');
is_deeply([ map { @{ $row{$_} } } sort keys %row ],
    [ map { @{ $schema->{schema}{properties}{$_} }{qw(type description)} } $schema->properties ],
    'and says the same of it');

my %used;
for my $file (glob "$root/ngx_nucleus_module/worker/*.c $root/ngx_nucleus_module/ctl/*.c $root/ngx_nucleus_module/core/nuc_logline.c") {
    my $text = $t->read_file($file);
    $used{$1} = 1 while $text =~ /(?:NUC_FIELD_(?:TEXT|NUMBER)|nuc_logline_(?:text|number))\((?:line,|&line,)?\s*"(\w+)"/g;
    while ($text =~ /NUC_FIELD_NUMBER\([^,"]*\? "(\w+)" : "(\w+)"/g) { $used{$_} = 1 for $1, $2 }
}
is_deeply([ sort(keys %used, qw(time level process pid msg)) ], [ $schema->properties ],
    'the sources use these members, and no others');

my %json = (examples => 0);
while ($logs =~ /^```json\n(.*?)^```/msg) {
    is($schema->wrong_text($1), undef, 'an example conforms');
    $json{examples}++;
}
cmp_ok($json{examples}, '>', 1, 'there are examples');

# ---- a run, with what goes wrong in it

my $key = $t->registry->key;
$t->start;
my $secret = 'content-that-nobody-logs';
is($t->post('/events', qq({"id":"$secret","x":"$secret"}), headers => $key->{bearer})->status, 202, 'an event');
$t->wait_events(1);

my $log = sub {
    my ($pattern) = @_;
    $t->wait_for("the log: $pattern", 30, sub { $t->read_file('worker.out') =~ $pattern });
};

# a store in whose place a file stands: the pipeline fails with quotes and a newline in what it says
rename $t->store, $t->dir . '/away' or die $!;
$t->write_file($t->store, 'no directory');
$t->expect_log(qr/pipeline failed/);
$t->post('/events', qq({"id":"$secret-2"}), headers => $key->{bearer});
$t->signal('HUP', 'worker');
$log->(qr/configuration is not taken|pipeline failed/);
$t->expect_log(qr/configuration is not taken/);
unlink $t->store;
rename $t->dir . '/away', $t->store or die $!;
$t->wait_events(2);
$t->signal('HUP', 'worker');
$log->(qr/configuration taken/);
$t->stop('worker');

is_deeply([ $t->wrong_lines('worker.out') ], [], 'every line of the worker conforms');
my @lines = map { JSON::PP->new->utf8->decode($_) } grep { /^\{/ } split /\n/, $t->read_file('worker.out');
cmp_ok(scalar @lines, '>', 8, 'there were some');
is((grep { $_->{level} eq 'error' && (!length $_->{error} || !length $_->{code}) } @lines), 0, 'an error says why');
unlike($t->logs, qr/\Q$secret/, 'what events hold is in no log');
unlike($t->logs, qr/nuc_[0-9a-z]{12}_/, 'nor is a key');

# ---- commands

my @commands = (
    [ ctl => qw(tenant show nobody) ], [ ctl => qw(key revoke zzzzzzzzzzzz) ], [ ctl => qw(key create) ],
    [ ctl => qw(tenant create), "A\nB\"" ], [ ctl => qw(tenant list surplus) ],
    [ worker => '--status', '-c', '/none/worker.conf' ], [ worker => '--verify', '/none' ],
);

for my $command (@commands) {
    my ($program, @args) = @$command;
    my @run = $program eq 'ctl'
        ? (Nucleus::Test::ctl_binary(), '--registry', $t->registry->database, @args, '--json')
        : (Nucleus::Test::worker_binary(), @args, '--json');
    my ($status, $out) = $t->run(\@run);
    my $name = "@args" =~ s/\n/\\n/gr;

    isnt($status, 0, "$name: fails");
    is(scalar(() = $out =~ /\n/g), 1, 'with one line') or diag($out);
    is($schema->wrong_text($out), undef, 'that conforms') or diag($out);

    my ($plain_status, $plain) = $t->run([ grep { $_ ne '--json' } @run ]);
    is($plain_status, $status, 'the status is the same without --json');
    is($schema->wrong_text($plain) // '', 'it is no JSON', 'which says it to people');
}

$t->finish;

# ---- nginx: a line for a fault, not for each request that meets it

{
    # bodies lie in files of the disk that fails
    my $u = Nucleus::Test->new(
        locations => 'location = /filed { nucleus auto; mirror /nowhere; client_body_buffer_size 1k;'
            . ' client_body_temp_path %%QUEUE%%/body; } location = /nowhere { return 204; }',
    );
    my $fault = Nucleus::Fault->new($u);
    my $event = '{"x":"' . 'x' x 50_000 . '"}';
    mkdir $u->queue;
    $u->start_nginx(env => $fault->env);
    $u->is_receipt($u->post('/filed', $event), 1, 'a body in a file');

    my $lines = sub { my ($pattern) = @_; return scalar(() = $u->read_file('error.log') =~ /$pattern/g) };
    my $short = qr/\[crit\].*read of the request body from/;

    $fault->set('read-fail');
    is($u->post('/filed', $event)->status, 500, 'its disk does not give it back') for 1 .. 10;
    is($lines->($short), 1, 'ten of them make one line');

    # an hour of the monotonic clock later
    $fault->set('read-fail', 'clock-run');
    $u->wait_for('it is told again after a minute', 30, sub {
        $u->post('/filed', $event);
        return $lines->($short) == 2;
    });
    $fault->clear;

    # what clients do wrong is in the access log
    my $before = $lines->(qr/\[(?:warn|error|crit|alert|emerg)\]/);
    $u->post('/events', $_) for ('{', '', '[]', '{"id":1}', "\xff", '[' x 1000);
    $u->post('/events', '{}', type => 'text/plain');
    $u->request('GET', '/events', [], undef);
    is($lines->(qr/\[(?:warn|error|crit|alert|emerg)\]/), $before, 'bad requests write nothing at warn or above');

    $u->expect_log($short, qr/pread\(\).*failed/);
    $u->stop('nginx');
    $u->finish;
}

done_testing;
