#!/usr/bin/perl

# nginx's user and the worker's are two, and share the queue by a group, as the packages set it up: whatever one of
# them makes there the other can use and remove, through reloads, quotas and restarts.  nucleusctl doctor says what is
# wrong where it isn't so.
#
# As an ordinary user both are the same, and what is shared is seen by the modes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Find ();
use JSON::PP ();
use Test::More;

use Nucleus::Test;

# two of Debian's, with one group
use constant { NGINX => 'nobody', WORKER => 'sync', GROUP => 'nogroup' };

my $t = Nucleus::Test->new(
    keys        => 1,
    limits      => 'nucleus_limit off;',
    workers     => 2,
    user        => NGINX . ' ' . GROUP,
    worker_user => WORKER,
);

my $registry = $t->registry;
my $queue = $t->queue;
my $number = 0;

sub own {
    my ($mode, $user, $group, @dirs) = @_;

    for my $dir (@dirs) {
        -d $dir or mkdir $dir or die "mkdir $dir: $!\n";
        !$t->is_root || chown scalar getpwnam($user), scalar getgrnam($group), $dir or die "chown $dir: $!\n";
        chmod $mode, $dir or die "chmod $dir: $!\n";
    }
}

# What is not the group's as the directory above it is.
sub not_shared {
    my @found;

    File::Find::find({ no_chdir => 1, wanted => sub {
        my @st = lstat $_ or return;
        my $is_dir = -d _;
        my $mode = $is_dir ? 02070 : 0060;

        # what only nginx uses, as it was
        return if m{/(?:last-used|events-today)(?:\.lock)?(?:\.tmp)?$};
        push @found, sprintf '%s %04o', $_, $st[2] & 07777 if ($st[2] & $mode) != $mode || $st[2] & 07 || $st[5] != (stat $queue)[5];
    } }, $queue);

    return "@found";
}

sub send_some {
    my ($count, $key, $size) = @_;

    for (1 .. $count) {
        my $id = 'u-' . ++$number;
        my $r = $t->post('/events', qq({"id":"$id","pad":") . 'x' x ($size // 10) . '"}', headers => $key->{bearer});
        $r->status == 202 or fail("$id is taken: " . $r->status);
    }
}

sub ids { return join ' ', sort map { $_->{id} } @_ }

sub all_there {
    my ($name) = @_;

    is(ids($t->wait_events($number)), ids(map { { id => "u-$_" } } 1 .. $number), $name);
}

sub knows { return $t->wait_for('all processes know the registry', 10, sub { !@{ $registry->json('snapshot')->{behind} } }) }

sub doctor {
    my ($status, $out) = $registry->ctl('doctor', '--json', '--nginx-conf', $t->dir . '/nginx.conf', '--worker-conf',
        $t->dir . '/worker.conf');
    my %found;

    for my $check (@{ JSON::PP::decode_json($out)->{checks} }) {
        $found{"$check->{check} $check->{result}"} .= "$check->{message} -> $check->{hint}\n";
    }

    return \%found;
}

own(02770, NGINX, GROUP, $queue);
own(0750, WORKER, GROUP, $t->state, $t->store);

my $key = $registry->key(tenant => 'north');
$registry->must(qw(tenant limits north --queue-bytes 100m --events-a-day 100000));

# ---- it works, as it does for one user

$t->start;
knows();
send_some(50, $key, 2000);
send_some(3, $key, 500_000);
all_there('what one user writes the other stores');
$t->wait_for('the worker counts what a tenant has', 20, sub { $t->read_file("$queue/tenant-bytes") =~ /^north \d+/m });
is(not_shared(), '', 'all of it is shared');

my %before = map { $_ => 1 } glob "$queue/*-*-*/";
ok($t->reload, 'nginx reloads');
send_some(50, $key);
$t->wait_for('logs of old processes are recovered and removed', 20, sub { !grep { $before{$_} } glob "$queue/*-*-*/" });
all_there('nothing is lost by it');

# ---- files that the other has made

is($t->stop('worker'), 0, 'the worker ends');
is($t->stop('nginx'), 0, 'nginx ends');
$t->start;
knows();
send_some(50, $key);
all_there('both go on with what the other has made');
my ($counted) = $t->read_file("$queue/tenant-bytes") =~ /^(\d+)/;
$t->wait_for('and with the counts of tenants', 20, sub {
    my ($now) = $t->read_file("$queue/tenant-bytes") =~ /^(\d+)/;
    return defined $now && $now != $counted;
});
is(not_shared(), '', 'all is shared still');

# ---- what doctor says

my $found = doctor();
ok(!$found->{'worker problem'} && !$found->{'queue problem'}, 'doctor finds nothing') or diag(explain $found);

# without a worker, the last writers' directories stay
is($t->stop('worker'), 0, 'the worker ends');
is($t->stop('nginx'), 0, 'nginx ends');

if ($t->is_root) {
    like($found->{'worker ok'}, qr/^nobody and sync share \Q$queue\E/m, 'and says who shares the queue');
    own(0750, NGINX, GROUP, $queue);
    like(doctor()->{'worker problem'}, qr/is not its group's \(mode 0750\).*sync cannot remove.*chmod -R g\+rwX/, 'a queue that is not shared');
    own(02770, NGINX, 'daemon', $queue);
    like(doctor()->{'worker problem'}, qr/belongs to the group \d+, which sync has not -> usermod -a -G /, 'one of another group');
    own(02770, NGINX, GROUP, $queue);
    chmod 0700, $t->dir;
    like(doctor()->{'worker problem'}, qr/nginx's user nobody may not write \Q$queue\E, because of \Q@{[ $t->dir ]}\E ->/, 'one that nginx does not reach');
    chmod 0755, $t->dir;
    like(doctor()->{'worker ok'}, qr/share/, 'and now it is right');

    my ($writer) = glob "$queue/*-*-*/";
    own(0700, NGINX, GROUP, $writer);
    like(doctor()->{'worker problem'}, qr/may not tend \S+, because of /, 'what was made before it was shared');
}

$t->finish;
done_testing;
