from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('forum', '0003_mirror'),
    ]

    operations = [
        migrations.CreateModel(
            name='DraftPicture',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(help_text='sha256 of the code that drew it', max_length=64)),
                ('name', models.CharField(max_length=80)),
                ('width', models.PositiveIntegerField()),
                ('height', models.PositiveIntegerField()),
                ('png', models.BinaryField()),
                ('upload', models.CharField(blank=True, help_text='What posts call it, once it is on the forum', max_length=100)),
                ('draft', models.ForeignKey(on_delete=models.deletion.CASCADE, related_name='pictures', to='forum.draft')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
    ]
