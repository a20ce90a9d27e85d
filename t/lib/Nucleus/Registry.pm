package Nucleus::Registry;

# The registry of a test, made and changed by nucleusctl as an operator would:
#
#     my $t = Nucleus::Test->new(keys => 1);
#     my $key = $t->registry->key(tenant => 'north');    # { id, key }
#     $t->post('/events', $body, headers => $key->{bearer});
#     my ($status, $out) = $t->registry->ctl(qw(key revoke), $key->{id});

use strict;
use warnings;

use JSON::PP ();

# In a directory of the test's own, or another.
sub new {
    my ($class, $t, $dir) = @_;

    my $self = bless { t => $t, dir => $dir // $t->dir . '/registry', tenants => {} }, $class;

    $self->must('init');

    return $self;
}

sub database { return "$_[0]{dir}/registry.db" }
sub snapshot { return "$_[0]{dir}/registry.snapshot" }

# Status and output, both streams in one.
sub ctl {
    my ($self, @args) = @_;

    return $self->{t}->run([ Nucleus::Test::ctl_binary(), '--registry', $self->database, @args ]);
}

sub must {
    my ($self, @args) = @_;

    my ($status, $out) = $self->ctl(@args);
    die "nucleusctl @args failed: $out\n" if $status != 0;

    return $out;
}

sub json {
    my ($self, @args) = @_;

    return JSON::PP::decode_json($self->must(@args, '--json'));
}

# A new key; its tenant is made when it is not there.  Options are those of "key create", by name;
# one that is given more than once is a list.
sub key {
    my ($self, %opt) = @_;

    my $tenant = delete $opt{tenant} // 'default';
    $self->must('tenant', 'create', $tenant) if !$self->{tenants}{$tenant}++;

    my @args = map { my $name = $_; map { ("--$name", $_) } ref $opt{$name} ? @{ $opt{$name} } : $opt{$name} } sort keys %opt;
    my $key = $self->json('key', 'create', '--tenant', $tenant, @args);

    return { %$key, bearer => [ Authorization => "Bearer $key->{key}" ] };
}

1;
