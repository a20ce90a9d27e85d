#!/usr/bin/perl

# docs/operations.md, "Backup": the commands as they stand there, while events come, and restored into
# a fresh place: nothing that was in the backup is lost, and nothing is there twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Docs;
use Nucleus::Ledger;
use Nucleus::Registry;
use Nucleus::Test;

# A machine of its own: what stands below / in the manual is below its directory.
sub machine {
    my ($fresh) = @_;

    my $t = Nucleus::Test->new;
    my $lib = $t->dir . '/var/lib/nucleus';

    $t->{$_} = "$lib/$_" for qw(queue state store);
    $t->{registry} = $fresh ? Nucleus::Registry->new($t, $lib) : bless { t => $t, dir => $lib }, 'Nucleus::Registry';

    # small segments: the keeper removes some all the time
    $t->write_confs(keys => 1, queue_options => 'min_free=0 segment=256k');

    return $t;
}

my $t = machine(1);
my @key = (headers => $t->registry->key->{bearer});
$t->start;

# ---- one ledger ends before the queue is copied, the other goes on: of the first nothing may be lost,
# of both nothing may be there twice

my $before = Nucleus::Ledger->new($t, seed => 1, name => 'before', @key);
my $all_along = Nucleus::Ledger->new($t, seed => 2, name => 'along', senders => 2, @key);
$_->start for $before, $all_along;
$t->wait_for('answers', 60, sub { $before->answers > 300 });

Nucleus::Docs::follow($t, 'docs/operations.md', 'backup', before => {
    qr/^systemctl stop/ => sub { $t->wait_for('events are stored', 60, sub { ($t->status // {})->{delivered} }) },
    qr/^cp.*nucleus\/queue/ => sub { my $count = $before->answers; $before->wait_answers($count + 50); $before->stop },
});

$t->wait_for('answers after the backup', 60, sub { $all_along->answers > 100 });
$all_along->stop;
$all_along->check('the machine itself');

my $taken = $before->read_on->{events};
cmp_ok(scalar(grep { $_->{status} == 202 } values %$taken), '>', 300, 'events were taken before the backup ended');

# ---- the machine is gone

$t->stop($_) for qw(nginx worker);
rename $t->dir . '/var', $t->dir . '/gone' or die "rename failed: $!\n";

# its copy may end in the middle of something
my $new = machine(0);
$new->expect_log(qr/"level":"alert".*(?:damage in the queue was passed over|damaged bytes copied to quarantine)/);
rename $t->dir . '/backup', $new->dir . '/backup' or die "rename failed: $!\n";
# a copy of a queue that was written to may end in the middle of something
Nucleus::Docs::follow($new, 'docs/operations.md', 'restore', status => { qr/--verify/ => qr/^[01]$/ });
$new->is_receipt($new->post('/events', '{"id":"new"}', @key), 1, 'restored: the key is known, events are taken');

my ($times, $wrong);
$new->wait_for('all of the backup is stored', 120, sub {
    my $status = $new->status or return 0;
    return 0 if $status->{error} || $status->{lag}{records};
    ($times, $wrong) = $before->compare($taken, $new->store);
    return !grep { $taken->{$_}{status} == 202 && !$times->{$_} } keys %$taken;
});

$before->judge($taken, $times, $wrong);
is("@$wrong[0 .. ($#$wrong > 9 ? 9 : $#$wrong)]", '', 'nothing that was in the backup is lost, changed or there twice');

my $later = $all_along->read_on->{events};
($times, $wrong) = $all_along->compare($later, $new->store);
push @$wrong, grep { $times->{$_} > 1 } sort keys %$times;
is("@$wrong", '', 'of what came meanwhile nothing is changed or there twice');
cmp_ok(scalar keys %$times, '<', scalar keys %$later, 'and what came after the backup is not in it');

$new->wait_events(sub { grep { ($_->{id} // '') eq 'new' } @_ });
is(scalar(grep { ($_->{id} // '') eq 'new' } $new->events), 1, 'what comes after it is stored once');

$_->finish for $new, $t;
done_testing;
