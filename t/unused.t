#!/usr/bin/perl

# An nginx whose configuration names a queue and a registry, as a package's does for all sites, and that takes events
# nowhere, runs as it did before: no files, no threads, no need of the registry; until a location takes some.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys  => 1,
    nginx => <<'END',
%%USER%%
load_module %%MODULE%%;
pid %%DIR%%/nginx.pid;
error_log %%DIR%%/error.log info;
worker_processes %%WORKERS%%;
events {}
http {
    nucleus_queue log %%QUEUE%% %%QUEUE_OPTIONS%%;
    nucleus_registry %%DIR%%/%%MAIN%%.snapshot;
    log_format names '$status tenant=$nucleus_tenant key=$nucleus_key_id stream=$nucleus_stream';
    access_log %%DIR%%/access.log names;
    client_body_temp_path %%DIR%%/body;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { return 200 "as before\n"; }
        %%LOCATIONS%%
    }
}
END
    main => 'none',
);

sub threads {
    my ($worker) = $t->nginx_workers;

    return scalar(my @threads = glob "/proc/$worker/task/*");
}

$t->start_nginx or die "nginx does not start\n";
is($t->get('/')->body, "as before\n", 'it serves what it served');
is(threads(), 1, 'without a thread more');
is(join(' ', glob $t->queue . '/*'), '', 'nothing is in the queue');
$t->wait_for('the access log is written', 10, sub { $t->read_file('access.log') =~ /^200 / });
like($t->read_file('access.log'), qr/^200 tenant=- key=- stream=-$/m, 'variables have no value');

# ---- a location takes events, and then none does

$t->write_confs(main => 'registry/registry', locations => 'location = /events { nucleus auto; nucleus_limit off; }');
my $key = $t->registry->key(tenant => 'north');
ok($t->reload, 'a location takes events');
ok($t->wait_for('an event is taken', 10, sub { $t->post('/events', '{"id":"one"}', headers => $key->{bearer})->status == 202 }), 'an event is taken');
cmp_ok(threads(), '>', 1, 'by threads of its own');

$t->write_confs(main => 'none', locations => '');
ok($t->reload, 'and none does');
is(threads(), 1, 'there are none any more');
is($t->get('/')->body, "as before\n", 'it serves what it served');

$t->start_worker or die "nucleus-worker does not start\n";
is(join(' ', map { $_->{id} } $t->wait_events(1)), 'one', 'what was taken is stored');

$t->finish;
done_testing;
