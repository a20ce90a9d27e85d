#!/usr/bin/perl

# Commands of the documentation that are marked to be run, by <!-- run: NAME -->, in a place that is
# prepared for them, and what they print is what stands below them. backup.t has those of its own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Path ();
use JSON::PP ();
use Test::More;

use Nucleus::Docs;
use Nucleus::Registry;
use Nucleus::Test;

# ---- every mark is known to a test

my %marks;

for my $file (Nucleus::Docs::files()) {
    for my $block (grep { defined $_->{run} } Nucleus::Docs::blocks($file)) {
        ok(!$marks{"$file $block->{run}"}++, "$file: the mark $block->{run} stands once");
    }
}

my $tests = join '', map { Nucleus::Test->read_file("$Nucleus::Test::ROOT/t/$_") } qw(docs_run.t backup.t);

for my $mark (sort keys %marks) {
    my ($file, $name) = split / /, $mark;
    like($tests, qr/follow\([^;]*'\Q$file\E', '$name'/, "$file: $name is run");
}

# ---- a machine, with the paths of the manual

my $t = Nucleus::Test->new;
my $dir = $t->dir;
my $lib = "$dir/var/lib/nucleus";

$t->{$_} = "$lib/$_" for qw(queue state store);
File::Path::make_path($lib, "$dir/backup", "$dir/mnt/var/lib/nucleus");
$t->{registry} = bless { t => $t, dir => $lib, tenants => {} }, 'Nucleus::Registry';

# nucleusctl is told where, and the commands of the manual are not
my @registry = ([ qr/\bnucleusctl (?!--registry)/, "nucleusctl --registry $lib/registry.db " ]);

# ---- docs/registry.md

my @said = Nucleus::Docs::follow($t, 'docs/registry.md', 'begin', replace => \@registry);
my ($made) = $said[-1][1] =~ /\b(nuc_[0-9a-z]{12}_[0-9A-Za-z]{49})\b/;
ok($made, 'registry.md: the last command shows a key');
my ($id) = ($made // '') =~ /^nuc_(\w{12})_/;

my $key = $t->registry->key(tenant => 'default');
$t->write_confs(keys => 1, locations => "location = /open { nucleus auto; nucleus_auth off; }", http => <<"END" . log_format(),
    nucleus_limit off;
END
    server => "access_log $dir/nucleus.log nucleus;");
$t->start;

# The stock format, as docs/operations.md has it.
sub log_format {
    my ($block) = grep { $_->{lang} eq 'nginx' && $_->{text} =~ /^log_format nucleus/ } Nucleus::Docs::blocks('docs/operations.md');
    return $block->{text};
}

my $address = 'http://127.0.0.1:' . $t->port;

# ---- README.md: a first event

# no meter, which a terminal would not mix with the answer
my @quiet = ([ qr/\bcurl /, 'curl -s -S ' ]);
my @readme = (@quiet, [ qr/KEY/, $key->{key} ], [ qr{http://127\.0\.0\.1:8080}, $address ]);
my ($first) = Nucleus::Docs::follow($t, 'README.md', 'first', replace => \@readme);
like($first->[1], qr/^HTTP\/1\.1 202 Accepted\r\n.*^Nucleus-Durability: log\r\n.*^\{"accepted":1,"ids":\["[0-9a-f-]{36}"\]\}\r?$/ms,
    'README: the answer');
$t->wait_events(1);
my ($find) = Nucleus::Docs::follow($t, 'README.md', 'find', replace => [ [ qr{run/store}, $t->store ] ]);
my ($shown) = $find->[1] =~ /^(\{"rid".*)$/m;
my ($printed) = grep { $_->{text} =~ /^\{"rid"/ } Nucleus::Docs::blocks('README.md');
is(join(' ', ($shown // '') =~ /"(\w+)":/g), join(' ', $printed->{text} =~ /"(\w+)":/g), 'README: the line has the members that it shows');
my ($wrong) = Nucleus::Docs::follow($t, 'README.md', 'wrong', replace => \@readme);
answers_as('README.md', qr/leading zero/, $wrong->[1]);

# A problem is the one that the document prints, but for the id of the request and the breaking of lines.
sub answers_as {
    my ($file, $which, $out) = @_;

    my ($block) = grep { $_->{text} =~ $which } Nucleus::Docs::blocks($file);
    my ($want) = $block->{text} =~ /(\{.*\})/s;
    my ($got) = $out =~ /^(\{"type".*\})/m;
    my @json = map { JSON::PP->new->decode(s/\n//gr) } $want, $got // '{}';
    delete $_->{request_id} for @json;
    is_deeply($json[1], $json[0], "$file: the problem is as it is printed");
}

# ---- docs/errors.md

my @open = (@quiet, [ qr{http://127\.0\.0\.1:8080/events}, "$address/open" ], [ qr{https://events\.example}, $address ],
    [ qr/\$KEY/, $key->{key} ]);
my @answers = Nucleus::Docs::follow($t, 'docs/errors.md', 'requests', replace => \@open);
is(join(' ', map { $_->[1] =~ /"accepted":(\d+)/ } @answers), '1 2 2', 'errors.md: an object, an array, NDJSON');
like((Nucleus::Docs::follow($t, 'docs/errors.md', 'key', replace => \@open))[0][1], qr/^HTTP\/1\.1 202 /, 'errors.md: with a key');
answers_as('docs/errors.md', qr/misspelt/, (Nucleus::Docs::follow($t, 'docs/errors.md', 'problem', replace => \@open))[0][1]);

# ---- docs/registry.md, with the key that was made there

my @id = (@registry, [ qr/k7f3m9q2xwtd/, $id ]);
Nucleus::Docs::follow($t, 'docs/registry.md', 'rotate', replace => \@id);
like($t->read_file('lms.key'), qr/^nuc_\w{12}_\w{49}$/m, 'registry.md: the file of the successor');
$t->is_receipt($t->post('/events', '{}', headers => [ Authorization => "Bearer $made" ]), 1, 'registry.md: the old key is valid meanwhile');
Nucleus::Docs::follow($t, 'docs/registry.md', 'revoke', replace => \@id);
$t->is_problem($t->post('/events', '{}', headers => [ Authorization => "Bearer $made" ]), 403, 'key-revoked', {}, 'registry.md: revoked');
Nucleus::Docs::follow($t, 'docs/registry.md', 'save');
ok(-s "$dir/backup/registry.db", 'registry.md: the copy is there');
like((Nucleus::Docs::follow($t, 'docs/registry.md', 'rewrite', replace => \@registry))[0][1], qr/generation/, 'registry.md: a new snapshot');

# ---- docs/operations.md: the log, retention, a dead host

$t->wait_for('the log has all', 10, sub { scalar(() = $t->read_file('nucleus.log') =~ /\n/g) >= 8 });
my ($refusals) = Nucleus::Docs::follow($t, 'docs/operations.md', 'refusals', replace => [ [ qr{/var/log/nginx/}, "$dir/" ] ]);
like($refusals->[1], qr/^\s*1 default \Q$key->{id}\E invalid-json$/m, 'operations.md: what refuses most');
like($refusals->[1], qr/^\s*1 district-7 \Q$id\E key-revoked$/m, 'operations.md: and why');

# two days that are over; a commit names a file of one
my @day = map { "$lib/store/stream=x/tenant=y/date=2026-11-$_/hour=00" } 18, 19;
File::Path::make_path(@day);
Nucleus::Docs::follow($t, 'docs/operations.md', 'days');
ok(-d $day[0] && !-d $day[1], 'operations.md: a day is removed, the others stay');
my $commit = (glob "$lib/state/pipelines/*/commit")[0];
my ($named) = $t->read_file($commit) =~ /date=([\d-]+)/;
my ($today) = glob "$lib/store/stream=*/tenant=*/date=$named";
Nucleus::Docs::follow($t, 'docs/operations.md', 'days', replace => [ [ qr/2026-11-19/, $named ] ]);
ok($today && -d $today, 'operations.md: a day that a commit names stays');

$t->write_confs(more => "pipeline old { sink file { path $dir/old; } }");
is(($t->worker('-s', 'reload'))[0], 0, 'a pipeline is added');
$t->wait_for('it is registered', 20, sub { -e "$lib/state/pipelines/old/commit" });
$t->write_confs(more => '');
Nucleus::Docs::follow($t, 'docs/operations.md', 'forget', replace => [ [ qr/NAME/, 'old' ] ]);
ok(!-e "$lib/state/pipelines/old", 'operations.md: and forgotten');

my $dead = Nucleus::Test->new;
$dead->start_nginx or BAIL_OUT('the other host does not start');
$dead->is_receipt($dead->post('/events', '{"id":"of-the-dead"}'), 1, 'an event on another host');
is($dead->stop('nginx'), 0, 'which dies');
rename $dead->queue, "$dir/mnt/var/lib/nucleus/queue" or die "rename failed: $!\n";
Nucleus::Docs::follow($t, 'docs/operations.md', 'adopt');
my @events = $t->wait_events(sub { grep { ($_->{id} // '') eq 'of-the-dead' } @_ });
is(scalar(grep { ($_->{id} // '') eq 'of-the-dead' } @events), 1, 'operations.md: its queue is adopted');

# ---- docs/sizing.md: bytes beside the event's own

my $sizing = Nucleus::Test->read_file("$Nucleus::Test::ROOT/docs/sizing.md");
my ($in_queue) = $sizing =~ /^\| in the queue \| (\d+)/m;
my ($in_store) = $sizing =~ /^\| in the store \| (\d+)/m;
my $sized = Nucleus::Test->new(keys => 1);
my @headers = (headers => $sized->registry->key(tenant => 'north')->{bearer});
$sized->start_nginx or BAIL_OUT('nginx does not start');
my $body = '[' . join(',', map { sprintf '{"id":"e-%06d","x":"%s"}', $_, 'x' x 790 } 1 .. 1000) . ']';
$sized->is_receipt($sized->post('/events', $body, @headers), 1000, 'events of 811 bytes');
my $verified = ($sized->worker('--verify', $sized->queue, '--json'))[1];
my ($bytes) = $verified =~ /"summary":\{.*?"bytes":(\d+)/s;
$sized->start_worker;
my @stored = $sized->wait_events(1000);
my ($data, $line) = (0, 0);
for my $event (@stored) {
    $data += length $event->{data};
    $line += 1 + length $event->{line};
}

within($bytes / 1000 - $data / 1000, $in_queue, 'sizing.md: bytes in the queue');
within($line / 1000 - $data / 1000, $in_store, 'sizing.md: bytes in the store');

sub within {
    my ($got, $want, $name) = @_;
    cmp_ok(abs($got - $want), '<=', 0.1 * $want, "$name: $got is about $want");
}

$_->finish for $sized, $dead, $t;
done_testing;
